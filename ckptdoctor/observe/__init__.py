"""Observing a user's own training command: `run` adapts it, `watch` observes it, `rehearse` makes it small and observes it.

============  =========================================================================================================
``hooked``    the environment of a command in whose processes the hook is active
``folder``    the folder of evidence: the settings that processes read, and what they report
``starting``  what hinders a command from starting
``following`` starts the command, follows what its processes report, ends it
``inside``    observes training steps of this very process, from Python
``shrinking`` a command made small: fewer ranks, on this machine, without loggers
``launchers`` launchers made to start few ranks on this machine
``lacking``   what a rehearsed job could not load
``job``       a job as far as its processes have reported
``judging``   from what processes reported to a report, by the same rules as ``check``
``notes``     what the reader of that report has to know beside its findings
============  =========================================================================================================
"""
