"""The embedded engine: a small OpenAI-style server over transformers and PEFT, for every machine and every checkpoint.

It serves several checkpoints at once, adapters over one copy of their base, and draws each reply with a generator of its own: a
seed gives the same reply whatever else is going on. ``server`` is its process; nothing here is imported by the app.
"""
