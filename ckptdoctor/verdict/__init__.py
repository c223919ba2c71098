"""From evidence to findings, and which findings count."""
