"""The formats of what the cache holds: one module each."""
