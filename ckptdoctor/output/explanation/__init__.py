"""The formats of an explanation: one module each."""
