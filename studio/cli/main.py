"""The ``studio`` command: what can be said, and who answers."""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from studio import __version__
from studio.checkpoints.best import MEASURES as BEST_BY
from studio.checkpoints.gguf import TYPES as GGUF_TYPES
from studio.checkpoints.schemes import SCHEMES
from studio.cli.lore import parsers as lore_parsers
from studio.errors import StudioError, UsageError

if TYPE_CHECKING:
    from studio.persona.folder import Persona

VAL_SHARE = 0.1
"""As in ``studio.snapshots``, which is not imported to print a help text."""


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (try: {self.prog} --help)")


def _parser() -> ArgumentParser:
    common = ArgumentParser(add_help=False, argument_default=SUPPRESS)
    common.add_argument("-p", "--persona", metavar="PATH", help="the persona's folder (default: the one around the current folder)")
    common.add_argument("--json", action="store_true", help="one JSON document on stdout")
    top = _Parser(
        prog="studio", description="A terminal workshop for character language models on one GPU. Without a command: the app.", parents=[common]
    )
    top.add_argument("--readonly", action="store_true", help="the app only looks: nothing is started, changed or voted")
    top.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal, for selecting text")
    top.add_argument("--version", action="version", version=f"persona studio {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, help_: str, under: Any = commands) -> ArgumentParser:
        made: ArgumentParser = under.add_parser(name, help=help_, description=help_, parents=[common])
        return made

    def actions(name: str, help_: str, default: str) -> Any:
        made = command(name, help_)
        made.set_defaults(action=default)
        return made.add_subparsers(dest="action", metavar="ACTION", parser_class=_Parser)

    new = command("new", "Make a persona folder.")
    new.add_argument("name", nargs="?", default="")
    new.add_argument("--base", default="pocket", help="pocket, a model folder, or a hub id (owner/name)")
    new.add_argument("--card", help="character card, PNG or JSON, V1 to V3")
    new.add_argument("--sample", help="start from a sample that comes with the studio: wen")
    new.add_argument("--dir", help="where the folder is made (default: here)")
    command("personas", "The personas of this machine.")

    lore = actions("lore", "Raw text for continued pre-training.", "list")
    lore_parsers(command, lore, _split)

    dialogue = actions("dialogue", "Conversations for fine-tuning.", "list")
    _dialogue_add(command("add", "Add training data, chat histories, role-play logs and scripts; files, folders or zips of them.", dialogue))
    command("formats", "What can be added, by the name --format takes.", dialogue)
    _dialogue_rows(command, dialogue)
    command("show", "One conversation.", dialogue).add_argument("row", metavar="ID")
    preview = command("preview", "A conversation as the model sees it: template, tokens, what is learned from.", dialogue)
    preview.add_argument("row", metavar="ID", nargs="?", default="")
    command("stats", "Counts, lengths, languages.", dialogue)
    _dialogue_checks(command, dialogue)
    _dialogue_synth(command("synth", "Have a model write conversations on passages of the lore; marked as written by a model for ever.", dialogue))
    _dialogue_build(command("build", "Freeze a snapshot, mixed and split into train and val.", dialogue))

    preference = actions("preference", "Pairs of replies, the better and the worse, for DPO and ORPO.", "list")
    add = command("add", "Add TRL, ShareGPT or KTO preference files (JSON lines or one array), or folders of them.", preference)
    add.add_argument("paths", nargs="+", metavar="PATH")
    add.add_argument("--format", default="", help="trl, sharegpt or kto (default: told from each row)")
    command("list", "The pairs.", preference)
    command("show", "One pair and where it came from.", preference).add_argument("row", metavar="ID")
    command("stats", "Counts, lengths, where they came from.", preference)
    command("check", "Pairs that would teach something wrong.", preference)
    remove = command("remove", "Take pairs out for good: they do not come back from the votes.", preference)
    remove.add_argument("rows", nargs="+", metavar="ID")
    _split(command("build", "Freeze a snapshot, split into train and val.", preference))
    command("snapshots", "The frozen builds of lore, dialogue and preference.")

    for name, help_ in (("plan", "What a run would read, do and need, before anything is loaded."), ("train", "Queue a training run.")):
        made = command(name, help_)
        made.add_argument("stage", choices=("cpt", "sft", "dpo", "orpo", *(("quantize",) if name == "plan" else ())))
        _recipe_options(made)
        made.add_argument("--from", dest="start", default="", metavar="CKPT", help="start from this checkpoint")
        made.add_argument("--snapshot", default="", help="read this snapshot (default: the newest)")
        made.add_argument("--card", type=int, default=0, metavar="GB", help="take the preset for a card of this size (--set goes before it)")
        made.add_argument("--fastest", action="store_true", help="take what studio doctor --bench measured to be fastest on this base")
        if name == "train":
            _queue_options(made)
        else:
            words = "try a few steps for the time (by itself where a GPU is free and nothing was measured)"
            made.add_argument("--measure", action=BooleanOptionalAction, default=None, help=words)
    quantize = command("quantize", "Make a checkpoint smaller for serving.")
    quantize.add_argument("checkpoint", metavar="CKPT")
    quantize.add_argument("--scheme", default="", help=", ".join(SCHEMES))
    _recipe_options(quantize)
    _queue_options(quantize)

    jobs = actions("jobs", "Runs: queued, running, paused, ended.", "list")
    command("list", "All runs.", jobs)
    command("queue", "What waits on this machine, of all personas, in its order.", jobs)
    for name, help_ in (
        ("show", "All that is known of a run."),
        ("follow", "Watch a run, live or after the fact."),
        ("cancel", "Ask a run to save and stop, or take it off the queue."),
        ("retry", "Queue an ended run again; it resumes, and what was skipped because of it comes along."),
        ("give-way", "Let the studio's servers stop for a waiting run and come back after it."),
        ("up", "One place forward in the queue."),
        ("down", "One place back in the queue."),
        ("first", "To the front of the queue."),
        ("last", "To the end of the queue."),
    ):
        command(name, help_, jobs).add_argument("run", metavar="ID")
    for name, help_ in (
        ("pause", "Save and stop a run, or hold it back; without ID: start nothing more on this machine."),
        ("resume", "Let a paused run go on; without ID: the queue."),
    ):
        command(name, help_, jobs).add_argument("run", metavar="ID", nargs="?", default="")
    priority = command("priority", "Give a waiting run a priority: higher goes first, 0 is usual.", jobs)
    priority.add_argument("run", metavar="ID")
    priority.add_argument("priority", type=int, metavar="N")
    command("prune", "Remove the trainer states of ended runs; they would start over.", jobs)

    recipes = actions("recipe", "Every value of a recipe in plain words, and what suits which card.", "explain")
    for name, help_ in (
        ("explain", "Every value, what it may be and what it does."),
        ("presets", "What suits cards of 12 to 141 GB, for this persona's base."),
    ):
        command(name, help_, recipes).add_argument("stage", choices=("cpt", "sft", "dpo", "orpo"))
    runs = actions("runs", "What trainings did: read in plain words, compared, made again.", "list")
    command("list", "All runs.", runs)
    command("read", "A run in plain words: what its numbers mean and what to try next.", runs).add_argument("run", metavar="ID")

    probed = command("probes", "What the model said to the probes at each evaluation of a run.", runs)
    probed.add_argument("run", metavar="ID")
    probed.add_argument("--step", type=int, default=-1, metavar="N", help="only this evaluation (default: the last one's answers)")
    probed.add_argument("--probe", default="", metavar="ID", help="one probe through all evaluations")

    differ = command("diff", "Where the recipes of runs differ, and what came of each.", runs)
    differ.add_argument("runs", nargs="+", metavar="ID")
    for name, help_ in (
        ("extend", "Queue one epoch more, from the run's last checkpoint."),
        ("save", "Ask a running training to save a state and a checkpoint now; it goes on."),
    ):
        command(name, help_, runs).add_argument("run", metavar="ID")
    written = command("export", "Write a run's numbers for TensorBoard, and as JSON lines and CSV (trackio, MLflow, pandas).", runs)
    written.add_argument("run", metavar="ID")
    written.add_argument("--to", required=True, metavar="DIR")
    reproduced = command("reproduce", "Queue the very run that made a checkpoint: same start, snapshot, recipe, seed.")
    reproduced.add_argument("checkpoint", metavar="CKPT")
    reproduced.add_argument("--wait", action="store_true", help="follow it to its end")

    checkpoints = actions("checkpoints", "Models on disk and their family tree.", "list")
    command("list", "All checkpoints.", checkpoints)
    command("tree", "The family tree.", checkpoints)
    best = command("best", "Which is best by a number: where to listen first.", checkpoints)
    best.add_argument("--by", default="val_loss", choices=tuple(BEST_BY), help="what counts (default: val_loss)")
    command("show", "Everything known of one.", checkpoints).add_argument("checkpoint", metavar="CKPT")
    herself = command("herself", "Is she still herself? A quantized or merged one against its parent on held-out dialogue.", checkpoints)
    herself.add_argument("checkpoint", metavar="CKPT")
    herself.add_argument("--against", default="", metavar="CKPT", help="another one than its parent")
    herself.add_argument("--again", action="store_true", help="measure anew")
    herself.add_argument("--wait", action="store_true", help="follow the measuring to its end and print the verdict")
    command("delete", "Delete one that nothing was made from.", checkpoints).add_argument("checkpoint", metavar="CKPT")
    salvage = command("salvage", "Which failed neighbours may be worth more together; --start queues the merges.", checkpoints)
    salvage.add_argument("--start", action="store_true", help="queue the merges")
    salvage.add_argument("--wait", action="store_true", help="follow them to their end")
    merge = command("merge", "Make one of several, or fold an adapter into its weights.", checkpoints)
    merge.add_argument("checkpoints", nargs="+", metavar="CKPT")
    merge.add_argument("--method", default="linear", choices=("linear", "slerp", "cat", "svd", "ties", "dare-linear", "dare-ties"))
    merge.add_argument("--weights", default="", metavar="W,W…", help="how much each counts (default: all the same)")
    merge.add_argument("--density", type=float, default=0.5, help="share of each one's changes that ties and dare keep")
    merge.add_argument("--result", default="full", choices=("full", "adapter"), help="adapter: only from adapters on the same weights")
    merge.add_argument("--wait", action="store_true", help="follow it to its end")
    command("fetch", "Bring a base to this machine: pocket, or a hub id.").add_argument("base", metavar="BASE")

    serve = command("serve", "Serve checkpoints on an OpenAI-compatible address; also: serve status, stop, add CKPT, remove CKPT.")
    serve.add_argument("checkpoints", nargs="*", metavar="CKPT|status|stop|add|remove")
    serve.add_argument("--engine", default="embedded", choices=("embedded", "vllm"))
    serve.add_argument("--port", type=int)
    serve.add_argument("--context", type=int, default=0, metavar="TOKENS", help="longest conversation (default 8,192, or what the model reads)")
    serve.add_argument("--filter", action="store_true", help="take personal data and the words of filter.toml out of what is said")
    serve.add_argument("--plan", action="store_true", help="only say how it would be started: length, memory, room for adapters")
    serve.add_argument("--lines", action="store_true", help="status: lines to paste into SillyTavern, Open WebUI, curl, the OpenAI client")
    serve.add_argument("--systemd", action="store_true", help="write a systemd user unit that serves these checkpoints from the next login on")
    serve.add_argument("--stay", action="store_true", help="stay until stopped, with the key of the service (what the unit runs)")
    chat = command("chat", "Chat with checkpoints in the terminal; with --say, ask once and print.")
    chat.add_argument("checkpoints", nargs="+", metavar="CKPT")
    chat.add_argument("--say", metavar="TEXT")
    probe = command("probe", "Put the persona's probes to checkpoints.")
    probe.add_argument("checkpoints", nargs="+", metavar="CKPT")
    probe.add_argument("--limit", type=int, default=0, help="only the first N open and N cloze probes")
    for made in (chat, probe):
        made.add_argument("--engine", default="embedded", choices=("embedded", "vllm"))
        made.add_argument("--temperature", type=float, default=0.8)
        made.add_argument("--max-tokens", type=int, default=200)
        made.add_argument("--seed", type=int, default=17)

    review = command("review", "Compare checkpoints blind: CKPT CKPT opens the app; or one of the words below.")
    review.add_argument(
        "words",
        nargs="*",
        metavar="CKPT | deal CKPT CKPT | next | vote ROUND VERDICT | better ROUND N TEXT | undo | rank | report | company [CKPT…] | judge "
        "| pairs | keep [ROUND…] | list",
    )
    review.add_argument("--say", action="append", default=[], metavar="TEXT", help="deal: a prompt (may be given more than once)")
    review.add_argument("--probes", type=int, default=0, metavar="N", help="deal: the first N open probes as prompts")
    review.add_argument("--held-out", type=int, default=0, metavar="N", help="deal: N conversations of the validation split as prompts")
    review.add_argument("--temperature", type=float, default=0.8, help="deal: how daring the replies are drawn")
    review.add_argument("--top-p", type=float, default=0.95, help="deal: share of the likeliest tokens that is drawn from")
    review.add_argument("--max-tokens", type=int, default=300, help="deal: longest reply")
    review.add_argument("--repetition-penalty", type=float, default=1.0, help="deal: above 1, words already said become rarer")
    review.add_argument("--panes", type=int, default=2, choices=(2, 3, 4), help="deal: replies side by side in a round")
    review.add_argument("--wait", action="store_true", help="deal: follow the writing to its end")
    review.add_argument("--engine", default="embedded", choices=("embedded", "vllm"))
    review.add_argument("--review", default="", help="which review (default: the newest)")
    review.add_argument("--tag", action="append", default=[], help="vote: why")
    review.add_argument("--note", default="", help="vote: a free note")
    review.add_argument("--by", default="", choices=("tag", "language"), help="rank: the votes apart by tag, or by the language of the prompt")
    review.add_argument("--to", default="", metavar="FILE", help="report: write it there (Markdown)")
    review.add_argument("--offline", action="store_true", help="company: only what needs no engine")
    review.add_argument("--url", default="", help="judge: an OpenAI-compatible address; its key is read from STUDIO_EXTERNAL_KEY")
    review.add_argument("--model", default="", help="judge: the model to ask there")
    review.add_argument("--limit", type=int, default=0, metavar="N", help="judge: at most N rounds")

    card = actions("card", "The character card, V1 to V3, and its lorebook.", "show")
    command("show", "What it says.", card)
    command("set", "Take a card (PNG or JSON), or a lorebook (SillyTavern world info) into the card.", card).add_argument("file", metavar="FILE")
    written = command("export", "Write it as .json or .png, for other programs.", card)
    written.add_argument("--to", required=True, metavar="FILE", help="where to; .png puts V2 and V3 into a picture")
    written.add_argument("--as", dest="layout", default="v3", choices=("v3", "v2", "lorebook"), help="layout of a .json (default v3)")
    written.add_argument("--picture", metavar="PNG", help="the picture to put it in")
    chats = actions("chats", "Talks that were kept, and SillyTavern's.", "list")
    command("list", "All chats.", chats)
    command("show", "A chat, line by line.", chats).add_argument("chat", metavar="ID")
    command("import", "Keep SillyTavern chats (.jsonl).", chats).add_argument("files", nargs="+", metavar="FILE")
    out = command("export", "Write a chat as SillyTavern reads it.", chats)
    out.add_argument("chat", metavar="ID")
    out.add_argument("--to", required=True, metavar="FILE")
    external = actions("external", "Outside endpoints (OpenAI API) to chat with and review.", "list")
    command("list", "Those that are named.", external)
    added = command("add", "Name one.", external)
    added.add_argument("name")
    added.add_argument("--url", required=True, help="root of its API, mostly ending in /v1")
    added.add_argument("--model", required=True, help="the model's name there")
    command("remove", "Forget one.", external).add_argument("name")
    command("key", "Set the key of one: asked for, or read from standard input; empty forgets it.", external).add_argument("name")
    export = command("export", "Write what another program needs to talk with a checkpoint.")
    export.add_argument("checkpoint", metavar="CKPT")
    export.add_argument("--to", required=True, metavar="DIR")
    export.add_argument(
        "--format",
        default="hf",
        choices=("hf", "gguf", "sillytavern"),
        help="hf: a plain model folder with its card and an Ollama Modelfile; gguf: by llama.cpp; sillytavern: card and presets",
    )
    export.add_argument("--type", default="q8_0", choices=GGUF_TYPES, help="gguf: how its weights are kept (default q8_0)")
    export.add_argument("--recipe", default="", choices=("axolotl", "llamafactory"), help="the recipe and data it was trained with, for that trainer")
    export.add_argument("--untried", action="store_true", help="hf: do not load it once and ask it one question")
    export.add_argument("--adapter", action="store_true", help="hf: the adapter alone, not folded into its weights")

    demo = command("demo", "The whole way on the sample persona, unattended.")
    demo.add_argument("--dir", help="where the persona is made (default: a new folder below here)")
    demo.add_argument("--base", default="", help="another base than the embedded one")
    demo.add_argument("--engine", default="embedded", choices=("embedded", "vllm"))
    doctor = command("doctor", "What this machine can do, what is missing, and the command that mends it.")
    doctor.add_argument(
        "--bench", nargs="?", const="here", default="", metavar="BASE", help="measure this machine: tokens a second of each way to train (minutes)"
    )
    doctor.add_argument("--fix", action="store_true", help="build the serving environment (vLLM) now")
    return top


def _dialogue_add(parser: ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--format", default="", help="read every file as this format (default: told from each file; studio dialogue formats)")
    parser.add_argument(
        "--character", action="append", default=[], metavar="NAME", help="a speaker who is the character; repeatable for her other names"
    )
    parser.add_argument("--me", action="append", default=[], metavar="NAME", help="a speaker who is the user; repeatable")
    parser.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="NAME",
        help="whose messages are dropped; '*': all others (default: they are users)",
    )
    parser.add_argument("--dates", default="", metavar="ORDER", help="dmy, mdy or ymd, where a chat's dates can be read in more than one way")
    parser.add_argument("--silence", type=float, default=6.0, metavar="HOURS", help="a chat begins anew after so long a silence (default 6)")
    parser.add_argument("--burst", type=float, default=30.0, metavar="MINUTES", help="messages of one side within so long are one turn (default 30)")
    parser.add_argument("--exchanges", type=int, default=6, metavar="N", help="replies in a row of a history at most (default 6; 0: not cut)")
    parser.add_argument("--choices", default="first", help="first, last or longest: which branch of a game's choices is taken")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be read, and show the first rows")


def _dialogue_rows(command: Callable[..., ArgumentParser], under: Any) -> None:
    """What can be done with single rows."""
    from studio.dialogue.filtering import HELP

    listed = command("list", "The conversations, all or those that are meant by a filter.", under)
    listed.add_argument("--filter", default="", metavar="FILTER", help="; ".join(f"{what}: {means}" for what, means in HELP))
    listed.add_argument("--page", type=int, default=0, metavar="N", help="the Nth fifty of them (default: the first; with --json: all)")
    for name, help_ in (
        ("accept", "Mark rows as good."),
        ("reject", "Keep rows out of every build; they stay in the dialogue."),
        ("reopen", "Take a row's accepted or rejected back."),
        ("delete", "Take rows out of the dialogue."),
    ):
        _meant(command(name, help_, under))
    tagged = command("tag", "Give rows tags, or take tags away.", under)
    _meant(tagged)
    tagged.add_argument("--add", action="append", default=[], metavar="TAG")
    tagged.add_argument("--remove", action="append", default=[], metavar="TAG")
    edited = command("edit", "Change a row in $EDITOR, or one turn of it.", under)
    edited.add_argument("row", metavar="ID")
    edited.add_argument("--turn", type=int, metavar="N", help="only this turn (from 1)")
    edited.add_argument("--text", metavar="TEXT", help="its new text, without an editor; an empty one takes the turn out")
    cut = command("split", "Cut a row in two.", under)
    cut.add_argument("row", metavar="ID")
    cut.add_argument("turn", type=int, metavar="TURN", help="the turn (from 1) that the second part begins with")
    command("merge", "Make one row of several, in their order.", under).add_argument("rows", nargs="+", metavar="ID")
    command("undo", "Take the last change by hand back.", under)
    command("redo", "Do what was undone last again.", under)


def _meant(parser: ArgumentParser) -> None:
    parser.add_argument("rows", nargs="*", metavar="ID")
    parser.add_argument("--filter", default="", metavar="FILTER", help="rows by FILTER (studio dialogue list --help has all of it)")


def _dialogue_checks(command: Callable[..., ArgumentParser], under: Any) -> None:
    check = command("check", "Rows that would teach something wrong, by named checks with thresholds.", under)
    check.add_argument("--only", action="append", default=[], metavar="CHECK", help="make only this check, and show its rows; repeatable")
    check.add_argument("--set", action="append", default=[], metavar="CHECK=NUMBER", help="another threshold; repeatable")
    check.add_argument("--save", action="store_true", help="keep the thresholds of --set in checks.toml")
    check.add_argument("--all", action="store_true", help="show every row of the checks named with --only (default: the first 20)")
    check.add_argument("--list", action="store_true", help="only say which checks there are, with their thresholds and where these are from")
    check.add_argument("--engine", default="", choices=("embedded", "vllm"), help="what low-loss and high-loss are measured with")
    clean = command("clean", "Replace personal data, put flagged rows aside: told first, done with --apply, undone with undo.", under)
    clean.add_argument("--redact", action="append", default=[], metavar="KINDS", help="mail, phone, ip, card, iban, name (of checks.toml), or all")
    clean.add_argument("--pseudonyms", action="store_true", help="put the same stand-in for the same thing everywhere, instead of [mail]")
    clean.add_argument("--reject", action="append", default=[], metavar="CHECKS", help="reject the rows that these checks flag")
    clean.add_argument("--apply", action="store_true", help="do it")
    judge = command("judge", "Have a language model grade the rows (vocabulary, prose, use of context); they leave this machine.", under)
    judge.add_argument("--url", required=True, help="an OpenAI-compatible endpoint; its key: STUDIO_EXTERNAL_KEY")
    judge.add_argument("--model", required=True, help="the model's name there")
    judge.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many rows, evenly over all (default: all that are left)")
    near = command("nearest", "From feedback to cause: the training rows nearest to a reply, with what they share.", under)
    near.add_argument("text", nargs="?", default="", metavar="TEXT")
    near.add_argument("--vote", default="", metavar="ID", help="the replies of this vote or round that were not called best")
    near.add_argument("--side", type=int, default=0, metavar="N", help="of --vote: this side (from 1)")
    near.add_argument("--chat", default="", metavar="ID[:N]", help="her last reply in this chat, or her Nth")
    near.add_argument("--snapshot", default="", metavar="ID", help="look in this snapshot (default: what the reply's checkpoint was trained on)")
    near.add_argument("--most", type=int, default=10, metavar="N", help="rows shown for each reply (default 10)")


def _dialogue_synth(parser: ArgumentParser) -> None:
    parser.add_argument("--endpoint", required=True, metavar="URL", help="an OpenAI-compatible address; its key is read from STUDIO_EXTERNAL_KEY")
    parser.add_argument("--model", required=True, help="the model to ask there")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="conversations of the batch; run again, it goes on where it stood")
    parser.add_argument("--language", default="", metavar="CODE", help="language they are written in (default: the passage's)")
    parser.add_argument("--seed", type=int, default=17, help="another seed is another batch")
    parser.add_argument("--temperature", type=float, default=1.0)


def _dialogue_build(parser: ArgumentParser) -> None:
    parser.add_argument("--split", default="", choices=("rows", "time", "source", "group"), help="what is held out (default: rows)")
    parser.add_argument("--ratio", action="append", default=[], metavar="KIND=SHARE", help="src:NAME, lang:CODE, tag:NAME or is:synthetic")
    parser.add_argument("--val", type=float, help="share held out for validation (default 0.1)")
    parser.add_argument("--seed", type=int)


def _split(parser: ArgumentParser) -> None:
    parser.add_argument("--val", type=float, default=VAL_SHARE, help="share held out for validation (default 0.1)")
    parser.add_argument("--seed", type=int, default=17)


def _queue_options(parser: ArgumentParser) -> None:
    parser.add_argument("--then", action="append", default=[], metavar="STAGE", help="queue this stage after it, from what it makes; repeatable")
    parser.add_argument("--give-way", action="store_true", help="servers of the studio that hold the GPU stop for it and come back afterwards")
    parser.add_argument("--gpus", type=int, default=0, metavar="N", help="train on so many cards of one machine together (torchrun)")
    parser.add_argument("--on", default="", metavar="PLACE", help="here, or slurm: hand it to a cluster that sees the same files")
    parser.add_argument("--wait", action="store_true", help="follow it to its end")


def _recipe_options(parser: ArgumentParser) -> None:
    parser.add_argument("--recipe", help="a TOML file (default: the persona's recipes/STAGE.toml over the built-in values)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe (STAGE.KEY=VALUE: of a later stage's)"
    )


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
        arguments = _parser().parse_args(argv, Namespace(persona="", json=False, readonly=False, no_mouse=False))
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
