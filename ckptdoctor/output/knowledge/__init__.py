"""The formats of all that ships of knowledge: one module each."""
