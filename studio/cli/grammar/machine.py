"""The demo, and the doctor."""

from __future__ import annotations

from studio.cli.grammar.words import Words


def say(words: Words) -> None:
    command = words.command
    demo = command("demo", "The whole way on the sample persona, unattended.")
    demo.add_argument("--dir", help="where the persona is made (default: a new folder below here)")
    demo.add_argument("--base", default="", help="another base than the embedded one")
    demo.add_argument("--engine", default="embedded", choices=("embedded", "vllm"))
    doctor = command("doctor", "What this machine can do, what is missing, and the command that mends it.")
    doctor.add_argument(
        "--bench", nargs="?", const="here", default="", metavar="BASE", help="measure this machine: tokens a second of each way to train (minutes)"
    )
    doctor.add_argument("--fix", action="store_true", help="build the serving environment (vLLM) now")
