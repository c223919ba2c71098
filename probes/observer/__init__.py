"""Observes the first steps of a job that really runs, in each of its processes, and takes itself away again.

``ckptdoctor watch`` starts a command with this observer in every Python of it. The job may use any trainer, engine and model:
nothing here knows one. What is seen is kept as evidence, as a probe's is, and judged on the doctor's side.

The observer never changes a value, a random state, what autograd saves, or the order of collectives: it reads, under hooks of
modules and optimizers, and copies a few numbers. An error of its own ends the observation, and the job goes on.

===============  ====================================================================================================
``observer``     begins, follows the job's forward passes and optimizer steps, ends
``in_front``     what stands in front of torch's and Python's own functions meanwhile
``attached``     all that is put into the model
``passes``       which calls of the model are training
``updates``      which steps of optimizers end a step of the job
``jobs_model``   the model that is trained, without what wraps it: its layers, what wraps it, how it is checkpointed
``runs``         each run of a layer, in the forward pass and in backward
``samples``      a few numbers of a tensor, random states: what two runs of a layer are compared by
``comparing``    runs in backward against runs in the forward pass
``kept``         memory that stays in use after each layer
``passed``       what a layer is passed to which function as, read from the frames of its first run
``preserving``   which line asks torch not to restore random states
``switching``    who switched checkpointing on
``replaced``     forwards and functions that are not the ones that the model's own files define
``arriving``     which parameters got a gradient
``reporting``    the file that the doctor reads
===============  ====================================================================================================
"""
