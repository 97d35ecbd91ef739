"""How surprised the base is by each row: the loss that training would begin with, token by token of what is learned from.

An engine scores each row as it is trained on (template, system prompt, the same marks). What was measured is kept by row and its text in
``.studio/surprise/<base>.jsonl``, one line as soon as it is known: a run that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from studio.checkpoints.base import load_tokenizer, require_base
from studio.checkpoints.store import base_checkpoint
from studio.checkpoints.templates import template_for
from studio.dialogue.flags import text_of
from studio.dialogue.preview import loss_flags, render_marked
from studio.dialogue.store import Row
from studio.errors import StudioError
from studio.files import append_line, sha256_bytes
from studio.growing import grown
from studio.persona.folder import Persona
from studio.progress import Progress, quiet

if TYPE_CHECKING:
    from studio.engines.servers import Server

AT_ONCE = {"vllm": 16}
"""Rows that are with an engine at the same time; 2 where nothing is said."""

WAVE = 64
"""Rows that are prepared at a time."""


class Surprise(msgspec.Struct, frozen=True):
    """One line of the file."""

    id: str
    text: str
    """``text_of`` the row."""
    nats: float
    """Mean over the learned tokens; negative: the row cannot be scored (too long for the engine, or refused by the template)."""
    tokens: int


def surprise_path(persona: Persona) -> Path:
    """Where what this base says of rows under this system prompt is kept. StudioError if the base is not here."""
    base = require_base(persona.manifest.base)
    weights = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(base.glob("*.safetensors"))]
    told = [persona.manifest.base, weights, template_for(base).text, persona.manifest.character.system_prompt]
    return persona.private / "surprise" / f"{sha256_bytes(msgspec.json.encode(told))[:16]}.jsonl"


def measured(persona: Persona) -> dict[tuple[str, str], Surprise]:
    """What is known, by row and its text."""
    return {(one.id, one.text): one for one in grown(surprise_path(persona), Surprise)}


def measure(
    persona: Persona,
    rows: Iterable[Row],
    engine: str = "",
    progress: Progress = quiet,
) -> dict[tuple[str, str], Surprise]:
    """Have an engine score the rows that are not known yet. An engine is started only if there are any, and stopped again."""
    known = measured(persona)
    waiting = [row for row in rows if (row.id, text_of(row)) not in known]
    if waiting:
        with _served(persona, engine, progress) as (server, model):
            asyncio.run(_score_all(persona, server, model, waiting, progress))
    return measured(persona)


@contextmanager
def _served(persona: Persona, engine: str, progress: Progress) -> Iterator[tuple[Server, str]]:
    from studio.engines.sharing import served

    base = base_checkpoint(persona)
    with served(persona, [base], engine, lambda line: progress(line, 0, 0)) as servers:
        yield servers[base.id], servers[base.id].for_checkpoint(base.id)


async def _score_all(persona: Persona, server: Server, model: str, waiting: list[Row], progress: Progress) -> None:
    path, base = surprise_path(persona), require_base(persona.manifest.base)
    tokenizer, template = load_tokenizer(base), template_for(base)
    prompt = persona.manifest.character.system_prompt
    free = asyncio.Semaphore(AT_ONCE.get(server.engine, 2))
    done = 0

    def prepared(row: Row) -> tuple[list[int], list[bool]] | None:
        messages = [{"role": m.role, "content": m.content} for m in row.messages]
        if prompt and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": prompt})
        try:
            text, learned = render_marked(template, messages)
        except StudioError:
            return None
        encoding: Any = tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, loss_flags(text, learned, encoding.offsets)

    async def one(row: Row) -> None:
        nonlocal done
        nats, tokens = -1.0, 0
        if (ready := prepared(row)) is not None:
            async with free:
                nats, tokens = await _score(server, model, *ready)
        append_line(path, Surprise(row.id, text_of(row), round(nats, 4), tokens), durable=False)
        done += 1
        if done % 10 == 0:
            progress("rows scored by the base", done, len(waiting))

    left = iter(waiting)
    while wave := list(islice(left, WAVE)):
        await asyncio.gather(*map(one, wave))


async def _score(server: Server, model: str, ids: list[int], learned: list[bool]) -> tuple[float, int]:
    from studio.engines.client import score_ids

    try:
        values = await score_ids(server, model, ids)
    except StudioError as error:
        if "too long" in str(error):
            return -1.0, 0
        raise
    counted = [-value for value, counts in zip(values, learned, strict=True) if counts and value is not None]
    return (sum(counted) / len(counted), len(counted)) if counted else (-1.0, 0)
