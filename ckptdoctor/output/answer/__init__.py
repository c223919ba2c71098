"""The formats of an environment: one module each."""
