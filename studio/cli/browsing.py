"""``studio dialogue list | edit | accept | reject | reopen | tag | split | merge | delete | undo | redo``, and what of it pairs share."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from studio.cli import output
from studio.cli.ticker import Ticker
from studio.errors import StudioError, UsageError
from studio.text import count

if TYPE_CHECKING:
    from studio.dialogue.editing import Editor
    from studio.dialogue.index import Indexed
    from studio.dialogue.steps import RowEditor
    from studio.dialogue.store import Row
    from studio.persona.folder import Persona

NO_PAIRS = "There are no pairs yet; vote, then: studio review pairs (or: studio preference add PATH)"

PAGE = 50
"""Rows of a page."""

R = TypeVar("R", bound="Indexed")


def answer(arguments: Namespace, persona: Persona) -> None:
    from studio.dialogue.editing import Editor

    editor = Editor(persona)

    def table(rows: list[Row]) -> None:
        output.table(("id", "", "replies", "source", "tags", "first words"), [_line(row) for row in rows], "llr")

    with Ticker() as progress:
        editor.index.refresh(progress)
        if arguments.action == "list":
            listed(arguments, editor, table, progress)
            return
        made: list[str] = []
        match arguments.action:
            case "delete":
                told = editor.remove(_ids(arguments, editor, progress), progress)
            case "split":
                told, made = editor.split(one(editor, arguments.row), arguments.turn - 1)
            case "merge":
                told, merged = editor.merge([one(editor, row) for row in arguments.rows])
                made = [merged]
            case "edit":
                told = _edit(arguments, editor)
            case _:
                told = changed(arguments, editor, progress)
    done(told, arguments.json, made)


def done(told: str, as_json: bool, made: Sequence[str] = ()) -> None:
    """What was changed, and the rows that came of it."""
    if as_json:
        output.json({"done": told, "rows": list(made)})
    else:
        output.say(f"{told or 'Nothing was changed'}." + (f" Rows: {', '.join(made)}." if made else ""))


def changed(arguments: Namespace, editor: RowEditor[R], progress: Ticker) -> str:
    """Make a change that every kind of row knows; what was done in words."""
    match arguments.action:
        case "accept" | "reject" | "reopen":
            state = {"accept": "accepted", "reject": "rejected", "reopen": ""}[arguments.action]
            return editor.judge(_ids(arguments, editor, progress), state, progress)
        case "tag":
            if not arguments.add and not arguments.remove:
                raise UsageError("Say which tag: --add TAG or --remove TAG.")
            return editor.tag(_ids(arguments, editor, progress), arguments.add, arguments.remove, progress)
        case "undo":
            return f"undone: {editor.undo()}"
    return f"done again: {editor.redo()}"


def one(editor: RowEditor[R], begun: str) -> str:
    """The id that is meant by its beginning."""
    found = editor.index.beginning(begun)
    whole = [identity for identity, _ in found if identity == begun] or [identity for identity, _ in found]
    if len(whole) != 1:
        raise StudioError(f"There {'is no' if not whole else 'are several'} {editor.noun}{'s' if whole else ''} {begun!r} in {editor.persona.name}.")
    return whole[0]


def _ids(arguments: Namespace, editor: RowEditor[R], progress: Ticker) -> list[str]:
    """The rows that a command is about: those named, or those its filter finds."""
    from studio.dialogue.filtering import parse

    if bool(arguments.rows) == bool(arguments.filter.strip()):
        raise UsageError("Name rows by their ids, or say which with --filter; one of the two.")
    if arguments.rows:
        return [one(editor, row) for row in arguments.rows]
    keys = editor.index.find(parse(arguments.filter), progress)
    found = editor.index.ids_at(keys or ())
    if not found:
        raise StudioError(f"No row is meant by {arguments.filter!r}.")
    return found


def _edit(arguments: Namespace, editor: Editor) -> str:
    from studio.dialogue.editing import as_text, from_text
    from studio.tui.outside import edited_text

    identity = one(editor, arguments.row)
    row = editor.row(identity)
    if arguments.text is not None:
        if arguments.turn is None:
            raise UsageError("Say which turn has that text: --turn N.")
        return editor.rewrite(identity, arguments.turn - 1, arguments.text)
    if arguments.turn is not None:
        if not 1 <= arguments.turn <= len(row.messages):
            raise UsageError(f"{identity} has {count(len(row.messages), 'turn')}, so there is no turn {arguments.turn}.")
        return editor.rewrite(identity, arguments.turn - 1, edited_text(row.messages[arguments.turn - 1].content))
    return editor.write(identity, from_text(edited_text(as_text(row))))


def listed(arguments: Namespace, editor: RowEditor[R], table: Callable[[list[R]], None], progress: Ticker) -> None:
    """A page of the rows that a filter means, or all of them as JSON."""
    from studio.dialogue.filtering import parse

    index = editor.index
    keys = index.find(parse(arguments.filter), progress)
    whole = len(index) if keys is None else len(keys)
    pages = max(1, -(-whole // PAGE))
    if arguments.page < 0 or arguments.page > pages:
        raise UsageError(f"There {'is one page' if pages == 1 else f'are {pages:,} pages'}.")
    every = arguments.json and not arguments.page
    first = 0 if every else PAGE * (max(1, arguments.page) - 1)
    last = whole if every else min(whole, first + PAGE)
    found = index.read([index.layout.key(i) if keys is None else keys[i] for i in range(first, last)])
    rows = [row for row in found if not isinstance(row, StudioError)]
    if arguments.json:
        output.json(rows)
        return
    for problem in found:
        if isinstance(problem, StudioError):
            output.progress(str(problem))
    table(rows)
    if not whole:
        none = {"dialogue": "There is no dialogue yet; add some with: studio dialogue add PATH", "preference": NO_PAIRS}[index.kind]
        output.say("No row is meant by this filter." if arguments.filter else none)
    elif pages > 1:
        output.say(f"{first + 1:,} to {last:,} of {count(whole, 'row')}; the next with: --page {max(1, arguments.page) + 1}")


def marks(row: Indexed) -> str:
    """What is known of a row, in signs: accepted ✓, rejected ✗, edited ✎, written by a model ⚙."""
    signs = {"accepted": "✓", "rejected": "✗"}.get(row.state, "")
    return signs + ("✎" if row.edited else "") + ("⚙" if row.made else "")


def _line(row: Row) -> tuple[str, str, int, str, str, str]:
    said = next((m.content for m in row.messages if m.role != "system"), "")
    return row.id, marks(row), len(row.replies), f"{row.source}:{row.line}", " ".join(row.tags), said[:200]


def synth(arguments: Namespace, persona: Persona) -> None:
    from studio.dialogue.synth import sentences, synthesize

    if arguments.count < 1:
        raise UsageError("--count takes a number from 1 on.")
    with Ticker(arguments.json) as progress:
        told = synthesize(
            persona, arguments.endpoint, arguments.model, arguments.count, arguments.language, arguments.seed, arguments.temperature, progress
        )
    if arguments.json:
        output.json(told)
        return
    for sentence in sentences(told):
        output.say(sentence)
