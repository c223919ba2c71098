"""Files of our own and of the user: where they lie, whose they are, how they are written, what the cache holds."""
