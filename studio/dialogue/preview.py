"""A conversation as the model sees it: the template applied, cut into tokens, and which of them it learns from.

The same rules as in training (``studio.stages.data``; a test holds the two together), without the model libraries.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from studio.checkpoints.base import load_tokenizer, require_base
from studio.checkpoints.templates import CLOSE, OPEN, Template, render, take_marks, template_for
from studio.dialogue.store import Row, get_row, rows
from studio.errors import StudioError
from studio.persona.folder import Persona


class Preview(msgspec.Struct):
    row: str
    """Id of the conversation."""
    template: str
    """Name of the chat template."""
    spans: list[tuple[str, bool]]
    """The whole text in runs, each with whether it is learned from."""
    pieces: list[tuple[str, bool]]
    """The same, token by token. Tokens that are parts of one character show it once."""
    tokens: int
    loss_tokens: int
    end_of_turn: str
    end_learned: bool
    """Whether the token that ends her turn is learned: without it she would not stop."""


def preview(persona: Persona, row_id: str = "", length: int = 0) -> Preview:
    """The row with that id (default: the first). ``length``: tokens past it count as cut off. StudioError without base or dialogue."""
    row = get_row(persona, row_id) if row_id else next(iter(rows(persona)), None)
    if row is None:
        raise StudioError(f"There is no dialogue in {persona.name} yet; add some with: studio dialogue add PATH.")
    return preview_row(require_base(persona.manifest.base), row, persona.manifest.character.system_prompt, length)


def preview_row(base: Path, row: Row, system_prompt: str = "", length: int = 0) -> Preview:
    """``row`` by the template and tokenizer of the model in ``base``."""
    template = template_for(base)
    messages = [{"role": m.role, "content": m.content} for m in row.messages]
    if system_prompt and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system_prompt})
    text, learned = render_marked(template, messages)
    encoding = load_tokenizer(base).encode(text, add_special_tokens=False)
    flags = loss_flags(text, learned, encoding.offsets)
    if length:
        flags = [flag and number < length for number, flag in enumerate(flags)]
    pieces = _pieces(text, encoding.offsets, flags)
    joined: list[tuple[str, bool]] = []
    for piece, flag in pieces:
        if joined and joined[-1][1] == flag:
            joined[-1] = (joined[-1][0] + piece, flag)
        else:
            joined.append((piece, flag))
    ends = [flag for token, flag in zip(encoding.tokens, flags, strict=True) if token == template.end_of_turn]
    return Preview(row.id, template.name, joined, pieces, len(flags), sum(flags[1:]), template.end_of_turn, any(ends))


def render_marked(template: Template, messages: list[dict[str, str]]) -> tuple[str, list[tuple[int, int]]]:
    """The conversation as one text, and where in it the loss counts: each reply and the end-of-turn token after it."""
    plain = [{"role": m["role"], "content": m["content"].strip()} for m in messages]
    marked = [m | {"content": OPEN + m["content"] + CLOSE} if m["role"] == "assistant" else m for m in plain]
    rendered, whole = render(template, marked), render(template, plain)
    text, spans = take_marks(rendered, template.end_of_turn)
    if text != whole:
        raise StudioError("The base's own chat template changes replies while rendering them; it cannot be trained with.")
    return text, spans


def loss_flags(text: str, spans: list[tuple[int, int]], offsets: list[tuple[int, int]]) -> list[bool]:
    """For each token whether it is learned from: it lies in a span, white space before a reply may share the reply's first token."""
    nowhere = (len(text) + 1, len(text) + 1)
    remaining = iter(spans)
    begin, end = next(remaining, nowhere)
    flags = []
    for start, stop in offsets:
        while start >= end:
            begin, end = next(remaining, nowhere)
        flags.append(stop > begin and stop <= end and stop > start and (start >= begin or not text[start:begin].strip()))
    return flags


def _pieces(text: str, offsets: list[tuple[int, int]], flags: list[bool]) -> list[tuple[str, bool]]:
    pieces: list[tuple[str, bool]] = []
    at = 0
    for (start, stop), flag in zip(offsets, flags, strict=True):
        if start > at:
            pieces.append((text[at:start], False))
        if stop > at:
            pieces.append((text[max(at, start) : stop], flag))
            at = stop
    if at < len(text):
        pieces.append((text[at:], False))
    return pieces
