"""A person's own health record."""
