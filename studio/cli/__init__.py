"""The command line face: everything the TUI does, scriptable. Nouns that read speak ``--json``."""
