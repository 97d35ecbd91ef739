"""A conversation with one served checkpoint."""
