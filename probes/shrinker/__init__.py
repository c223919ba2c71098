"""Makes the job in this process small: ``ckptdoctor rehearse``. Everything else stays the trainer's own code.

Each function ``act_on_…`` is called by the hook with a module of the job, right after that module was executed.

==================  =================================================================================================
``telling``         what was made small, or is missing, for the doctor; the settings and the folder of the rehearsal
``devices``         whether there is an accelerator
``wrapping``        methods and functions that are wrapped in place
``models``          models are built tiny from their own configuration; adapters are not loaded
``configurations``  what of a configuration is made small, and what cannot be run on this machine
``arguments``       arguments of ``TrainingArguments`` and of whatever ``HfArgumentParser`` reads
``reductions``      which argument becomes what, by its name
``trainer``         ``Trainer``: no checkpoints, small evaluation
``saving``          what is saved goes to the temporary folder
``data``            fewer rows and workers
``processes``       fewer processes, and a backend for this machine
``accelerating``    accelerate's ``Accelerator``
``deepspeed``       DeepSpeed's configuration
``axolotl``         axolotl's configuration
``fetching``        downloads of models: without the weights
``missing``         configurations, tokenizers and data sets that are not on this machine
==================  =================================================================================================
"""
