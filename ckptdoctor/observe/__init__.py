"""Observing a user's own training command: `run` adapts it, `watch` observes it, `rehearse` makes it small and observes it.

============  =========================================================================================================
``hooked``    the environment of a command in whose processes the hook is active
``folder``    the folder of evidence: the settings that processes read, and what they report
``following`` starts the command, follows what its processes report, ends it
``inside``    observes training steps of this very process, from Python
``judging``   from what processes reported to a report, by the same rules as ``check``
============  =========================================================================================================
"""
