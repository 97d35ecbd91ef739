"""Stages: what really trains and quantizes. Each run is a process of its own; only this package imports the model libraries."""
