"""persona studio: a terminal workshop for character language models on one GPU."""

__version__ = "0.1.0"
