"""The request, and the probes to run for it."""
