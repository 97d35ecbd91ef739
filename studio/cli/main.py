"""The ``studio`` command: who answers what can be said."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studio.cli.grammar import parser
from studio.errors import StudioError, UsageError

if TYPE_CHECKING:
    from studio.persona.folder import Persona


def _answer(arguments: Namespace) -> int | None:
    from studio.cli import companion, lore, material, models, preferring, recipes, reviewing, running, training
    from studio.persona.folder import open_persona

    match arguments.command:
        case "new" | "personas":
            return (material.new if arguments.command == "new" else material.personas)(arguments)
        case "fetch":
            return models.fetch(arguments)
        case "demo":
            from studio.demo import demo

            return demo(Path(arguments.dir) if arguments.dir else None, arguments.base, arguments.engine)
        case "doctor":
            return models.doctor(arguments)
        case None:
            from studio.tui.app import run

            return run(Path(arguments.persona) if arguments.persona else None, arguments.readonly, not arguments.no_mouse)
    persona = open_persona(Path(arguments.persona) if arguments.persona else None)
    answers: dict[str, Callable[[Namespace, Persona], int | None]] = {
        "lore": lore.lore,
        "dialogue": material.dialogue,
        "preference": preferring.preference,
        "snapshots": material.snapshots,
        "plan": training.plan,
        "train": training.train,
        "quantize": training.quantize,
        "jobs": training.jobs,
        "runs": running.runs,
        "recipe": recipes.recipe,
        "reproduce": running.reproduce,
        "checkpoints": models.checkpoints,
        "serve": models.serve,
        "chat": models.chat,
        "probe": models.probe,
        "review": reviewing.review,
        "card": companion.card,
        "chats": companion.chats,
        "external": companion.external,
        "export": companion.export,
    }
    return answers[arguments.command](arguments, persona)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 0 done, 1 failed, 2 wrong use, 130 interrupted; never a traceback."""
    os.umask(0o077)
    try:
        arguments = parser().parse_args(argv, Namespace(persona="", json=False, readonly=False, no_mouse=False))
        return _answer(arguments) or 0
    except UsageError as error:
        print(f"studio: {error}", file=sys.stderr)
        return 2
    except StudioError as error:
        print(f"studio: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstudio: stopped; jobs and servers that were started go on (studio jobs, studio serve status).", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from studio.crash import record

        print(f"studio: {record(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
