"""Reads a training job from its file; nothing in the file is run."""
