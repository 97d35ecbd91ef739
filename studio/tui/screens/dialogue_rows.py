"""A conversation as it is drawn: in a row of a table, in the line of where it came from, turn by turn. Pairs share what is the same of them."""

from __future__ import annotations

from collections.abc import Sequence

from studio.dialogue.flags import Flag
from studio.dialogue.formats import Message
from studio.dialogue.index import Indexed
from studio.dialogue.store import ACCEPTED, REJECTED
from studio.dialogue.store import Row as Conversation
from studio.lore.languages import spoken
from studio.persona.folder import Persona
from studio.tui.look import Line, Span
from studio.tui.table import Row


def signs(row: Indexed, flagged: bool) -> tuple[str, str]:
    """What is known of a row, and the kind it is drawn in: ✓ accepted, ✗ rejected, ⚑ flagged by a check, ✎ edited, ⚙ written by a model."""
    state = {ACCEPTED: "✓", REJECTED: "✗"}.get(row.state, "")
    text = state + ("⚑" if flagged else "") + ("✎" if row.edited else "") + ("⚙" if row.made else "")
    return text[:3], {ACCEPTED: "good", REJECTED: "muted"}.get(row.state, "warn" if flagged else "plain")


def place(row: Indexed) -> str:
    """File and line."""
    return f"{row.source}:{row.line}" if row.line else row.source


def table_row(row: Conversation, flagged: bool) -> Row:
    said = next((m.content for m in row.messages if m.role == "user"), "")
    answer = next((m.content for m in row.messages if m.role == "assistant"), "")
    text = "muted" if row.state == REJECTED else "plain"
    return Row(
        row.id,
        (
            signs(row, flagged),
            (row.id, text),
            (str(len(row.replies)), text),
            (spoken(" ".join(row.replies)[:400]), "muted"),
            (said[:300], text),
            (answer[:300], "muted"),
            (" ".join(row.tags), "accent"),
            (place(row), "muted"),
        ),
    )


def provenance(row: Indexed, *more: str) -> Line:
    """Where a row came from and what became of it, in one line; ``more`` stands behind where it is from."""
    parts: list[Span] = [(" · ".join([place(row) or "no source", *more]), "muted")]
    if row.time:
        parts.append((f" · {row.time[:16].replace('T', ' ')}", "muted"))
    for is_so, word, kind in (
        (row.state == ACCEPTED, "✓ accepted", "good"),
        (row.state == REJECTED, "✗ rejected: never built", "bad"),
        (bool(row.made), f"⚙ {row.made}: written by a model", "warn"),
        (row.edited, "✎ edited by hand", "plain"),
        (bool(row.tags), " ".join(row.tags), "accent"),
    ):
        if is_so:
            parts += [(" · ", "muted"), (word, kind)]
    return parts


def descent(row: Conversation) -> list[str]:
    """The rows it was split from or merged of."""
    return [f"from {', '.join(row.of[:4])}{'…' if len(row.of) > 4 else ''}"] if row.of else []


def names_of(persona: Persona) -> dict[str, str]:
    """Who a role is."""
    return {"assistant": persona.manifest.character.name, "user": persona.manifest.character.user, "system": "system"}


def conversation_turns(persona: Persona, row: Conversation, flags: Sequence[Flag] = ()) -> list[list[Line]]:
    """A conversation to be read, turn by turn: who says what, and under it what a check found there."""
    names = names_of(persona)
    return [turn_lines(message, names, [flag for flag in flags if flag.message == number]) for number, message in enumerate(row.messages)]


def turn_lines(message: Message, names: dict[str, str], flags: Sequence[Flag] = ()) -> list[Line]:
    """One turn under the name of who says it, and below what a check found in it."""
    kind = {"assistant": "accent", "user": "strong"}.get(message.role, "muted")
    return [[(message.name or names.get(message.role, message.role), kind)], *message.content.split("\n"), *map(flag_line, flags), ""]


def flag_line(flag: Flag) -> Line:
    return [("⚑ ", "warn"), (f"{flag.check} ", "warn"), (flag.what + (f" ({flag.other})" if flag.other else ""), "muted")]
