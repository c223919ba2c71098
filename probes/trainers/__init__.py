"""How trainers switch their checkpoint functions on: a file for each, of the name that its record in the catalog gives.

Each has one function::

    def enable(module, model, name, reentrant) -> a context, or None

``module`` is the trainer's own that defines the function, as installed; ``model`` a model of transformers or our own, which has
no ``_set_gradient_checkpointing``; ``name`` the function's, a key of ``catalog.FUNCTIONS``; ``reentrant`` what a job sets, or
the trainer's default. What is returned is a context in which every step is taken, for a function that needs one.

A trainer whose record names ``arguments`` prepares the model of a job by its own entry, before checkpointing is switched on::

    def load_whole() -> None                            # imports what the others need
    def before_model(arguments, config) -> state        # patches that come before the model is made
    def after_model(state, arguments, model) -> None    # patches of the model; checkpointing stays off
"""
