"""The formats of a bisection: one module each."""
