"""How trainers switch their checkpoint functions on: a file for each, of the name that its record in the catalog gives.

Each has one function::

    def enable(module, model, name, reentrant) -> a context, or None

``module`` is the trainer's own that defines the function, as installed; ``model`` a model of transformers or our own, which has
no ``_set_gradient_checkpointing``; ``name`` the function's, a key of ``catalog.FUNCTIONS``; ``reentrant`` what a job sets, or
the trainer's default. What is returned is a context in which every step is taken, for a function that needs one.
"""
