"""Seeing a training learn: its course from the events alone, what it means in words, runs side by side. No model library."""
