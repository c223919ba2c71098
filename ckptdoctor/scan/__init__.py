"""Reads source code for places that rely on how checkpointing works inside transformers. Nothing is imported or run."""
