"""What can be said to ``studio``: every word, option and sentence of help. Who answers is in ``studio.cli.main``."""

from __future__ import annotations

from argparse import ArgumentParser

from studio.cli.grammar import machine, material, talking, training
from studio.cli.grammar.words import Words


def parser() -> ArgumentParser:
    words = Words()
    for part in (material, training, talking, machine):
        part.say(words)
    return words.top
