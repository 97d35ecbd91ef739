"""Probes: fixed prompts put to every checkpoint, and cloze questions with one right answer.

``probes.jsonl``: ``{"id","kind":"open","lang","prompt"}`` or ``{"id","kind":"cloze","lang","prompt","answer","wrong":[…]}``. An open
probe is answered; a cloze is scored: the checkpoint is right if it finds the right answer likelier, per character, than every
wrong one. Results are kept in ``reviews/probes.jsonl``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from studio.errors import StudioError
from studio.files import append_line
from studio.persona.folder import Persona

if TYPE_CHECKING:
    from studio.engines.client import Sampler
    from studio.engines.servers import Server


class Probe(msgspec.Struct, frozen=True):
    id: str
    kind: Literal["open", "cloze"]
    prompt: str
    lang: str = ""
    answer: str = ""
    wrong: list[str] = []


class ProbeResult(msgspec.Struct):
    """What one checkpoint made of one probe."""

    t: float
    checkpoint: str
    probe: str
    reply: str = ""
    finish: str = ""
    right: bool | None = None
    """Of a cloze; None for an open probe."""
    scores: list[float] = []
    """Log-probability per character of the right answer, then of the wrong ones."""


def load_probes(persona: Persona) -> list[Probe]:
    """The persona's probes. StudioError naming the line that is none."""
    if not persona.probes.is_file():
        raise StudioError(f"{persona.name} has no probes; write some into {persona.probes}, one JSON object a line.")
    return read_probes(persona.probes)


def read_probes(path: Path) -> list[Probe]:
    """The probes of a file. StudioError naming the line that is none."""
    found = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                probe = msgspec.json.decode(line, type=Probe)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise StudioError(f"{path}:{number}: this is no probe ({error}).") from error
            if probe.kind == "cloze" and not (probe.answer and probe.wrong):
                raise StudioError(f"{path}:{number}: a cloze needs an answer and at least one wrong one.")
            found.append(probe)
    return found


def opening(persona: Persona, prompt: str) -> list[dict[str, str]]:
    """A fresh conversation that begins with ``prompt``, with the persona's system prompt if it has one."""
    system = persona.manifest.character.system_prompt
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": prompt}]


async def ask(persona: Persona, server: Server, checkpoint: str, probe: Probe, sampler: Sampler) -> ProbeResult:
    """Put one probe to one served checkpoint and keep the result."""
    from studio.engines.client import score, stream_chat

    model = server.models[checkpoint]
    messages = opening(persona, probe.prompt)
    result = ProbeResult(time.time(), checkpoint, probe.id)
    if probe.kind == "cloze":
        for answer in (probe.answer, *probe.wrong):
            result.scores.append(await score(server, model, messages, answer) / max(1, len(answer)))
        result.right = result.scores[0] > max(result.scores[1:])
    else:
        async for delta in stream_chat(server, model, messages, sampler):
            result.reply += delta.text
            result.finish = delta.finish_reason or result.finish
    append_line(persona.reviews / "probes.jsonl", result)
    return result


class Accuracy(msgspec.Struct):
    """Share of cloze probes a checkpoint gets right, with the 95 % interval of Wilson (1927)."""

    right: int
    asked: int
    chance: float
    """What guessing would give."""

    @property
    def interval(self) -> tuple[float, float]:
        if not self.asked:
            return (0.0, 1.0)
        n, p, z = self.asked, self.right / self.asked, 1.96
        middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (max(0.0, middle - half), min(1.0, middle + half))


def accuracy(results: Sequence[ProbeResult]) -> Accuracy:
    scored = [r for r in results if r.right is not None]
    chance = sum(1 / len(r.scores) for r in scored) / len(scored) if scored else 0.0
    return Accuracy(sum(r.right is True for r in scored), len(scored), chance)
