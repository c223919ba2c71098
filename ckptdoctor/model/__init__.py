"""Types that everything speaks in, and what follows from them alone; nothing here reads or writes a file."""
