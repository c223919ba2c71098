"""Reading a log that somebody pasted."""
