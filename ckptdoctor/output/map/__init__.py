"""The formats of a compatibility map: one module each."""
