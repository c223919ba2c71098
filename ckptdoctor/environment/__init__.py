"""The target: which Python it is, what is laid over it, and the bridge to the probes inside it."""
