"""The job that is about to start, read from its own file; nothing in it is run."""
