"""The formats of a scan: one module each."""
