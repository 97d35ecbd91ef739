"""Checkpoints: models on disk with a card each, and the family tree they make."""
