"""The environment's side: tiny real training steps, run in the training environment's own Python.

Each probe collects evidence and passes no judgement. Nothing here imports ckptdoctor, click or tabulate; what is needed
is the standard library, torch, and whatever the environment has installed. Runs on Python 3.9 and later.

``__main__`` loads this folder as a package under a private name, so that it never shadows a package of the target.

==================  =================================================================================================
``worker``          the process that the doctor talks to: imports the stack once, forks a child for each probe
``fork_server``     the process that imports torch once and forks workers, for many combinations of packages
``survey``          one process for all probes of a family, for maps of hundreds of families
``bridge``          the two pipes to the doctor: requests and events
``importing``       the stack, imported once for all probes that are forked afterwards
``imported``        which modules were imported since a moment
``isolate``         one child: its pipes, its time limit, its end
``starved``         how long a probe waited for a processor: that time does not count for its limit
``processes``       whether a fork is safe, and how forked processes end
``shortages``       whether an error is the machine's, which is short of memory, processes, files or disk
``ranks``           one probe in several processes, under torch's elastic launcher
``stack``           which packages are installed, read without importing them
``start_checks``    which releases a trainer's command insists on when it starts
``probe``           one probe: which kind of step it takes, and its evidence, however it ends
``step``            the training step itself: plain, then with checkpointing, and what was seen
``gradients``       gradients of a checkpointed step against those of the plain one
``course``          many steps on more layers: batches, precisions, evaluation, frozen parts; a file for each subject
``repeated``        two micro-batches, and the step after an optimizer step
``perturbed``       whether what a layer saves for backward depends on values
``surroundings``    what a step must leave as it was: modes, random numbers, values
``memory``          bytes in use, whoever holds them
``autocast``        whether a function asks for the autocast of a device that is not there
``contract``        what trainers rely on in a model: its layers' forward and hooks, how checkpointing is switched on
``layers``          the layers of a model that checkpointing is about
``models``          real tiny transformers models by family or ``config.json``
``families``        which class of transformers a trainer builds for a configuration
``tiny_config``     what makes a configuration of transformers tiny
``tiny_glm4``       our own tiny GLM-4 in plain PyTorch
``tiny_inputs``     batches of random tokens
``tiny_media``      tiny images and sound, built from a configuration
``variants``        what a variant of the step changes in the configuration, the model and the batch
``tuning``          how a job tunes the model: all of it, an adapter, some layers; and in which precision
``conventions``     the ways in which a model can pass a layer to a checkpoint function
``functions``       checkpoint functions: torch's, DeepSpeed's, the user's
``switching_on``    transformers' Trainer's own call that switches checkpointing on
``preparing``       a trainer's own patches of the model of a job
``replacements``    who replaced what, and at which line
``replacing_lines`` which lines of a function may replace something
``loading``         checkpoint functions of trainers, loaded without the rest of them
``excerpt``         some definitions of a module, without the rest of it
``trainers``        how each trainer switches its functions on, a file for each
``engines``         what wraps the model, a file for each kind
``deepspeed_on_cpus``  what DeepSpeed does on CPUs alone, and not on the GPUs that a probe stands for
``catalog``         what the doctor sent of its records
``stand_in``        a GPU simulated on the CPU
``reads``           what a probe's process reads beside modules
``wrapper``         FSDP's own activation checkpointing: torch's wrapper around each layer
``watch``           hooks that see calls, recomputation, keywords and saved bytes
``callables``       what a callable is made of
``failures``        an exception as evidence
``places``          frames and files, and which distribution owns them
``source_lines``    the lines of source around a place, and the range of the expression that is meant there
``observer``        observes the first steps of a job that really runs, for ``ckptdoctor watch``
``shrinker``        makes a user's own job small; loaded in the job, no part of the probes
``no_touch``        what ``ckptdoctor run``, ``watch`` and ``rehearse`` add to a job; no part of the probes
==================  =================================================================================================
"""
