"""What several formats show alike: a report that anyone may see, a map as tables and in words."""
