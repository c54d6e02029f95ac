"""Rules that make several operators one; one family per file."""
