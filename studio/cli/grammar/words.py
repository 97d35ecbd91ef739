"""How a command is declared, and options that several have."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from typing import Any, NoReturn

from studio import __version__
from studio.errors import UsageError

VAL_SHARE = 0.1
"""As in ``studio.snapshots``, which is not imported to print a help text."""


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (try: {self.prog} --help)")


class Words:
    """``studio`` and the commands below it."""

    def __init__(self) -> None:
        self.common = ArgumentParser(add_help=False, argument_default=SUPPRESS)
        self.common.add_argument("-p", "--persona", metavar="PATH", help="the persona's folder (default: the one around the current folder)")
        self.common.add_argument("--json", action="store_true", help="one JSON document on stdout")
        description = "A terminal workshop for character language models on one GPU. Without a command: the app."
        self.top: ArgumentParser = _Parser(prog="studio", description=description, parents=[self.common])
        self.top.add_argument("--readonly", action="store_true", help="the app only looks: nothing is started, changed or voted")
        self.top.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal, for selecting text")
        self.top.add_argument("--version", action="version", version=f"persona studio {__version__}")
        self._commands: Any = self.top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(self, name: str, help_: str, under: Any = None) -> ArgumentParser:
        """A command, or, ``under`` what ``actions`` gave, an action."""
        made: ArgumentParser = (under or self._commands).add_parser(name, help=help_, description=help_, parents=[self.common])
        return made

    def actions(self, name: str, help_: str, default: str) -> Any:
        """A command that has actions; without one, ``default`` is meant."""
        made = self.command(name, help_)
        made.set_defaults(action=default)
        return made.add_subparsers(dest="action", metavar="ACTION", parser_class=_Parser)


def split_options(parser: ArgumentParser) -> None:
    parser.add_argument("--val", type=float, default=VAL_SHARE, help="share held out for validation (default 0.1)")
    parser.add_argument("--seed", type=int, default=17)


def queue_options(parser: ArgumentParser) -> None:
    parser.add_argument("--then", action="append", default=[], metavar="STAGE", help="queue this stage after it, from what it makes; repeatable")
    parser.add_argument("--give-way", action="store_true", help="servers of the studio that hold the GPU stop for it and come back afterwards")
    parser.add_argument("--gpus", type=int, default=0, metavar="N", help="train on so many cards of one machine together (torchrun)")
    parser.add_argument("--on", default="", metavar="PLACE", help="here, or slurm: hand it to a cluster that sees the same files")
    parser.add_argument("--wait", action="store_true", help="follow it to its end")


def recipe_options(parser: ArgumentParser) -> None:
    parser.add_argument("--recipe", help="a TOML file (default: the persona's recipes/STAGE.toml over the built-in values)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe (STAGE.KEY=VALUE: of a later stage's)"
    )
