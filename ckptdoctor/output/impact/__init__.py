"""The formats of an impact: one module each."""
