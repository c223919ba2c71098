"""Carrying a remedy out: patched files, and the lines that pin releases."""
