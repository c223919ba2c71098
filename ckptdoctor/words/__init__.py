"""How things are named and written for people, and how text is escaped."""
