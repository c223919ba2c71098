"""What rules are made of: no module here is a rule."""
