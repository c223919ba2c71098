"""The environment's side: tiny real training steps, run in the training environment's own Python.

Each probe collects evidence and passes no judgement. Nothing here imports ckptdoctor, click or tabulate; what is needed
is the standard library, torch, and whatever the environment has installed. Runs on Python 3.9 and later.

``__main__`` loads this folder as a package under a private name, so that it never shadows a package of the target.

==================  ==================================================================================
``lane``            the process that the doctor talks to: imports the stack once, forks a child a probe
``fork_server``     the process that imports torch once and forks lanes, for many combinations of packages
``isolate``         one child: its pipes, its time limit, its end
``ranks``           one probe in several processes, under torch's elastic launcher
``stack``           which packages are installed, read without importing them
``step``            the training step itself: plain, then with checkpointing, and what was seen
``course``          many steps on more layers: batches, precisions, evaluation, frozen parts
``surroundings``    what a step must leave as it was: modes, random numbers, values
``memory``          bytes in use, whoever holds them
``autocast``        whether a function asks for the autocast of a device that is not there
``models``          real tiny transformers models by family or ``config.json``
``tiny_glm4``       our own tiny GLM-4 in plain PyTorch
``tuning``          how a job tunes the model: all of it, an adapter, some layers; and in which precision
``conventions``     the ways in which a model can hand a layer to a checkpoint function
``functions``       checkpoint functions: torch's, DeepSpeed's, the user's
``loading``         checkpoint functions of trainers, loaded without the rest of them
``trainers``        how each trainer switches its functions on, a file for each
``engines``         what wraps the model, a file for each kind
``catalog``         what the doctor sent of its records
``stand_in``        the CPU in the place of a GPU that is not there
``reads``           what a probe's process reads beside modules
``watch``           hooks that see calls, recomputation, keywords and saved bytes
``callables``       what a callable is made of
``failures``        an exception as evidence
``places``          frames and files, and which distribution owns them
==================  ==================================================================================
"""
