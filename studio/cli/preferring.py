"""``studio preference`` and what a review leaves for training: ``studio review better | pairs | keep``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from studio.cli import browsing, material, output
from studio.cli.ticker import Ticker
from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona
from studio.preference import build, checks, store
from studio.preference.store import Pair
from studio.text import count

if TYPE_CHECKING:
    from studio.preference.editing import PairEditor


def preference(arguments: Namespace, persona: Persona) -> int | None:
    match arguments.action:
        case "add":
            paths = [Path(path) for path in arguments.paths]
            return material.report(store.add(persona, paths, arguments.format), arguments.json, "pair")
        case "build":
            material.built(build.build(persona, arguments.val, arguments.seed), arguments.json)
        case "check":
            material.checked(checks.check(persona), arguments.json)
        case "stats":
            material.facts(checks.stats(persona), arguments.json)
        case "show":
            row = store.get_row(persona, arguments.row)
            if arguments.json:
                output.json(row)
            else:
                _show(row)
        case "remove":
            gone = store.remove(persona, arguments.rows)
            output.say(f"{count(len(gone), 'pair')} taken out; they are kept in {persona.preference / 'removed.jsonl'}.")
        case _:
            _rows(arguments, persona)
    return None


def _rows(arguments: Namespace, persona: Persona) -> None:
    """What can be done with single pairs; as it is with conversations."""
    from studio.preference.editing import PairEditor

    def table(rows: list[Pair]) -> None:
        if rows:
            output.table(("id", "", "made by", "source", "prompt", "chosen", "rejected"), [_line(row) for row in rows])

    editor = PairEditor(persona)
    with Ticker(arguments.json) as progress:
        editor.index.refresh(progress)
        match arguments.action:
            case "list":
                browsing.listed(arguments, editor, table, progress)
                return
            case "swap":
                told = editor.swap(browsing.one(editor, arguments.row))
            case "edit":
                told = _edit(arguments, editor)
            case _:
                told = browsing.changed(arguments, editor, progress)
    browsing.done(told, arguments.json)


def _edit(arguments: Namespace, editor: PairEditor) -> str:
    from studio.tui.outside import edited_text

    row = editor.row(browsing.one(editor, arguments.row))
    turn = len(row.prompt) + store.SIDES.index(arguments.side) if arguments.turn is None else arguments.turn - 1
    if not 0 <= turn < len(row.messages):
        raise UsageError(f"{row.id} has {len(row.messages)} texts, so there is none of number {arguments.turn}.")
    text = arguments.text if arguments.text is not None else edited_text(row.messages[turn].content)
    return editor.rewrite(row.id, turn, text)


def _line(row: Pair) -> tuple[str, ...]:
    where = row.origin.round if row.origin else f"{row.source}:{row.line}"
    return row.id, browsing.marks(row), row.origin.how if row.origin else "file", where, row.prompt[-1].content[:40], row.better[:40], row.worse[:40]


def _show(row: Pair) -> None:
    output.say(f"{row.id}  {row.source}" + (f":{row.line}" if row.line else ""))
    if row.origin:
        origin = row.origin
        seen = "names hidden" if origin.blind else "names known"
        output.say(f"{origin.round}, vote {origin.vote} ({origin.how}, {seen}): {origin.chosen} over {origin.rejected}")
    for message in row.prompt:
        output.say(f"\n{message.role}: {message.content}")
    for name, text in (("better", row.better), ("worse", row.worse)):
        cut = " (cut off at the length limit)" if {"better": "chosen", "worse": "rejected"}[name] in row.cut else ""
        output.say(f"\n{name}{cut}: {text}")


def pairs(arguments: Namespace, persona: Persona) -> None:
    from studio.preference.pairs import update

    told = update(persona)
    if arguments.json:
        output.json(told)
        return
    for reason, number in told.dropped.items():
        output.say(f"{number:,} without a pair: {reason}")
    if told.withdrawn:
        output.say(f"{told.withdrawn:,} taken out: their vote or correction no longer stands")
    output.say(f"{count(told.new, 'new pair')}, {told.there:,} already there; {count(told.rows, 'pair')} in all.")
    if told.new or told.withdrawn:
        output.say("Next: studio preference check, studio preference build, studio train dpo")


def better(arguments: Namespace, persona: Persona, words: list[str]) -> None:
    """``ROUND SIDE TEXT``: what she should have said instead of one side's reply, in a round that has its vote."""
    from studio.review.votes import better as record
    from studio.review.votes import votes

    if len(words) != 3 or not words[1].isdigit():
        raise UsageError("studio review better ROUND 1|2|3|4 TEXT")
    vote = next((vote for vote in votes(persona) if vote.round == words[0]), None)
    if vote is None:
        raise StudioError(f"Round {words[0]!r} has no vote that stands; vote on it first: studio review vote {words[0]} …")
    side = int(words[1]) - 1
    if not 0 <= side < len(vote.sides):
        raise StudioError(f"Round {vote.round} has {len(vote.sides)} replies, so none of them is number {words[1]}.")
    entry = record(persona, vote, side, words[2])
    if arguments.json:
        output.json({"vote": vote.id, "round": vote.round, "side": side + 1, "text": entry.text})
    else:
        output.say(f"Kept for {vote.round}: a pair for studio review pairs, a conversation for studio review keep.")


def keep(arguments: Namespace, persona: Persona, rounds: list[str]) -> None:
    from studio.review.keeping import keep as keep_rows

    told = keep_rows(persona, rounds)
    if arguments.json:
        output.json(told)
        return
    for reason, number in told.dropped.items():
        output.say(f"{number:,} not kept: {reason}")
    output.say(f"{count(told.new, 'conversation')} added to the dialogue, {told.there:,} there already.")
    if told.new:
        output.say("Next: studio dialogue build, studio train sft")
