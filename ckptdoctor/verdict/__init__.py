"""From evidence to findings, and which of them count."""
