"""The persona and what goes into her: lore, dialogue, preference."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from studio.cli.grammar.words import Words, split_options
from studio.cli.lore import parsers as lore_parsers


def say(words: Words) -> None:
    command, actions = words.command, words.actions
    new = command("new", "Make a persona folder.")
    new.add_argument("name", nargs="?", default="")
    new.add_argument("--base", default="pocket", help="pocket, a model folder, or a hub id (owner/name)")
    new.add_argument("--card", help="character card, PNG or JSON, V1 to V3")
    new.add_argument("--sample", help="start from a sample that comes with the studio: wen")
    new.add_argument("--dir", help="where the folder is made (default: here)")
    command("personas", "The personas of this machine.")

    lore = actions("lore", "Raw text for continued pre-training.", "list")
    lore_parsers(command, lore, split_options)

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
    _rows(command, preference, "pairs")
    edited = command("edit", "Change one text of a pair, in $EDITOR or as given.", preference)
    edited.add_argument("row", metavar="ID")
    edited.add_argument("--side", default="chosen", choices=("chosen", "rejected"), help="which reply (default: the chosen one)")
    edited.add_argument("--turn", type=int, metavar="N", help="instead: this turn of the prompt (from 1)")
    edited.add_argument("--text", metavar="TEXT", help="its new text, without an editor")
    command("swap", "The other way round: the rejected reply is the better one.", preference).add_argument("row", metavar="ID")
    command("show", "One pair and where it came from.", preference).add_argument("row", metavar="ID")
    command("stats", "Counts, lengths, where they came from.", preference)
    command("check", "Pairs that would teach something wrong.", preference)
    remove = command("remove", "Take pairs out for good: they do not come back from the votes.", preference)
    remove.add_argument("rows", nargs="+", metavar="ID")
    split_options(command("build", "Freeze a snapshot, split into train and val.", preference))
    snapshots = command("snapshots", "The frozen builds of lore, dialogue and preference, or the data card of one.")
    snapshots.add_argument("snapshot", nargs="?", default="", metavar="ID")


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


def _rows(command: Callable[..., ArgumentParser], under: Any, several: str) -> None:
    """What can be done with rows of any kind."""
    from studio.dialogue.filtering import HELP

    listed = command("list", f"The {several}, all or those that are meant by a filter.", under)
    listed.add_argument("--filter", default="", metavar="FILTER", help="; ".join(f"{what}: {means}" for what, means in HELP))
    listed.add_argument("--page", type=int, default=0, metavar="N", help="the Nth fifty of them (default: the first; with --json: all)")
    for name, help_ in (
        ("accept", "Mark rows as good."),
        ("reject", "Keep rows out of every build; they stay where they are."),
        ("reopen", "Take a row's accepted or rejected back."),
    ):
        _meant(command(name, help_, under))
    tagged = command("tag", "Give rows tags, or take tags away.", under)
    _meant(tagged)
    tagged.add_argument("--add", action="append", default=[], metavar="TAG")
    tagged.add_argument("--remove", action="append", default=[], metavar="TAG")
    command("undo", "Take the last change by hand back.", under)
    command("redo", "Do what was undone last again.", under)


def _dialogue_rows(command: Callable[..., ArgumentParser], under: Any) -> None:
    _rows(command, under, "conversations")
    _meant(command("delete", "Take rows out of the dialogue.", under))
    edited = command("edit", "Change a row in $EDITOR, or one turn of it.", under)
    edited.add_argument("row", metavar="ID")
    edited.add_argument("--turn", type=int, metavar="N", help="only this turn (from 1)")
    edited.add_argument("--text", metavar="TEXT", help="its new text, without an editor; an empty one takes the turn out")
    cut = command("split", "Cut a row in two.", under)
    cut.add_argument("row", metavar="ID")
    cut.add_argument("turn", type=int, metavar="TURN", help="the turn (from 1) that the second part begins with")
    command("merge", "Make one row of several, in their order.", under).add_argument("rows", nargs="+", metavar="ID")


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
    near.add_argument("--embed", default="", metavar="MODEL", help="nearest in meaning, by this model on this machine: a folder, or pocket")
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
