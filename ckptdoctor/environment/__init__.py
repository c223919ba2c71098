"""The target: which Python it is, what is added to it, and the bridge to the probes inside it."""
