"""The probes of a run by step and prompt, as its events tell them."""

from __future__ import annotations

from collections.abc import Sequence

from studio.seeing.course import Event

NUMBERS = ("lore right", "surprise", "on seen", "recited", "of seen", "overlap")
"""Headings of ``numbers``: lore questions right; nats a token on unseen and on seen lines; share said word for word of unseen and of seen
lines; share of the answers' runs of tokens that stand in the material."""


def numbers(event: Event) -> tuple[str, ...]:
    """One evaluation's numbers as text; empty where nothing was measured."""
    surprise, recited = event.get("surprise") or {}, event.get("recited") or {}
    right = f"{round(event['accuracy'] * event['asked'])}/{event['asked']}" if event.get("accuracy") is not None else ""

    def shown(value: object, how: str) -> str:
        return format(value, how) if isinstance(value, int | float) else ""

    return (
        right,
        shown(surprise.get("val"), ".3f"),
        shown(surprise.get("train"), ".3f"),
        shown(recited.get("val"), ".0%"),
        shown(recited.get("train"), ".0%"),
        shown(event.get("overlap"), ".0%"),
    )


def prompts(events: Sequence[Event]) -> list[tuple[str, str]]:
    """``(id, prompt)`` of every probe that was put: open ones, cloze ones, then the unseen lines (``line-1`` …)."""
    found: dict[str, str] = {}
    for event in events:
        for kind in ("replies", "cloze"):
            found |= {str(entry["id"]): str(entry["prompt"]) for entry in event.get(kind) or []}
    for event in events:
        found |= {f"line-{number}": str(line["text"]) for number, line in enumerate(event.get("lines") or [], 1)}
    return list(found.items())


def answer(event: Event, identity: str) -> str:
    """What was said to a probe at one evaluation: the reply, the verdict on a cloze, the surprise at a line; empty if it was not put."""
    for reply in event.get("replies") or []:
        if reply["id"] == identity:
            cut = " …" if reply.get("finish") == "length" else ""
            return f"{reply['reply']}{cut}" or "(nothing)"
    for cloze in event.get("cloze") or []:
        if cloze["id"] == identity:
            return f"{'right' if cloze['right'] else 'WRONG'}: {cloze['answer']} ({', '.join(f'{score:.2f}' for score in cloze['scores'])})"
    number = identity.removeprefix("line-")
    lines = event.get("lines") or []
    if identity.startswith("line-") and number.isdigit() and 0 < int(number) <= len(lines):
        line = lines[int(number) - 1]
        return f"surprise {line['nats']:.3f} a token, {line['recited']:.0%} said word for word"
    return ""
