"""What keeps the judgement company: numbers about each checkpoint's replies that need no voter and no network.

From the replies themselves (``replies``): what they copy, repeat and sound like. From an engine (``likelihood``): how well lore questions
are answered and how surprised the checkpoint is by lines of the character it has never seen. Both are kept in
``.studio/company/``, by the checkpoint's digest and a hash of all that was read, so that the ranking shows them at once.

A unit is a word; in scripts that write without spaces, one character. Every number also stands for the character's own held-out lines
(``CHARACTER``): that is what to compare with, and not nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

import msgspec

from studio.checkpoints.store import Checkpoint, all_checkpoints, weights_root
from studio.errors import StudioError
from studio.files import read_lines, sha256_bytes, write_json
from studio.lore.languages import language
from studio.persona.folder import Persona
from studio.phrases import ASSISTANT, REFUSAL, SLOP, Phrases
from studio.review.probes import Probe, load_probes, opening
from studio.review.rounds import Side, all_reviews, digest, rounds
from studio.review.shares import Share, share
from studio.snapshots import all_snapshots
from studio.text import joined_units, units

if TYPE_CHECKING:
    from studio.engines.servers import Server

CHARACTER = "the character"
"""Name of the row that holds the character's own held-out lines."""

VERSION = 2
"""Raised when a number changes its meaning: what was kept before is then made anew."""

COPY = 8
"""Units in a row that count as copied: shorter runs are common to any two texts of one language."""

SAMPLE = 500
"""Units over which the share of different words is taken: it falls with the amount of text, so it is always the same amount."""

MOST_LINES = 60
"""Held-out lines that the surprise is measured on."""

_ASSISTANT, _REFUSAL, _SLOP = Phrases(ASSISTANT), Phrases(REFUSAL), Phrases(SLOP)


class Replies(msgspec.Struct):
    """Numbers from the replies of one checkpoint in all its rounds, each reply once."""

    checkpoint: str
    digest: str
    replies: int
    units: int
    snapshot: str
    """The dialogue snapshot whose training rows the replies were compared with; empty if there is none."""
    copied: float | None
    """Share of all runs of 8 units that stand word for word in the training dialogue. None without a snapshot, or without such runs."""
    longest: int
    """Units of the longest run shared with the training dialogue."""
    longest_text: str
    """That run."""
    distinct_1: float | None
    distinct_2: float | None
    """Different units, and pairs of units, among the first 500 (Li et al. 2016)."""
    distinct_units: int
    """The units that was taken over: 500 unless there were fewer."""
    repeats: float | None
    """Share of a reply's runs of 4 units that stood in the same reply before (Welleck et al. 2020), the mean over replies."""
    length: float | None
    """Median of a reply's units."""
    length_ratio: float | None
    """That over the median of the character's own training lines, language by language. None where there is nothing to compare."""
    assistant: float | None
    slop: float | None
    """What assistants say (refusals among it) and what models overuse (``studio.phrases``), per 1,000 units."""
    cut_off: Share
    """Replies that ran into the limit of tokens, of those that say how they ended."""


class Likelihood(msgspec.Struct):
    """Numbers from the checkpoint's own probabilities, by an engine."""

    checkpoint: str
    digest: str
    engine: str
    lore_right: Share
    """Lore questions (cloze probes) whose right answer is likelier, per character, than every wrong one."""
    lore_chance: float
    """What guessing would give."""
    surprise: float | None
    """Mean nats per token over the held-out lines of the character, each token counted once. None without such lines."""
    surprise_low: float | None
    surprise_high: float | None
    """95 % interval over lines: mean per line ± 1.96 standard errors, around ``surprise``."""
    lines: int
    tokens: int
    snapshot: str
    """The dialogue snapshot whose validation rows the lines are from."""


class Company(msgspec.Struct):
    """What is known of one checkpoint; None: not made yet, or made from other data."""

    checkpoint: str
    replies: Replies | None
    likelihood: Likelihood | None


class Line(msgspec.Struct, frozen=True):
    """A line of the character and what was said before it."""

    before: tuple[tuple[str, str], ...]
    """``(role, content)``."""
    text: str


class Material:
    """What replies are compared with: the training lines of one dialogue snapshot, and lines no checkpoint was trained on."""

    def __init__(self, persona: Persona) -> None:
        self.persona = persona
        found = all_snapshots(persona, "dialogue")
        self.snapshot = found[-1].id if found else ""
        folder = persona.snapshots / self.snapshot
        seen: set[str] = set()
        if self.snapshot:
            used = {c.snapshot for c in all_checkpoints(persona)} & {s.id for s in found} | {self.snapshot}
            for name in sorted(used):
                seen |= {str(row.get("id")) for _, row in read_lines(persona.snapshots / name / "train.jsonl")}
        self.train = _lines(folder / "train.jsonl") if self.snapshot else []
        self.held_out = _lines(folder / "val.jsonl", seen) if self.snapshot else []
        self.identity = sha256_bytes(msgspec.json.encode([VERSION, self.snapshot, [line.text for line in self.held_out]]))[:12]


def _lines(path: Path, without: Iterable[str] = ()) -> list[Line]:
    left_out = set(without)
    found = []
    for _, row in read_lines(path):
        if str(row.get("id")) in left_out:
            continue
        said: list[tuple[str, str]] = []
        for message in row["messages"]:
            if message["role"] == "assistant" and message["content"].strip():
                found.append(Line(tuple(said), message["content"]))
            said.append((message["role"], message["content"]))
    return found


class _Longest:
    """The longest run of units that some texts share with a stream of others: a suffix automaton of the texts (Blumer et al. 1985)."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self.next: list[dict[Any, int]] = [{}]
        self.link, self.length = [-1], [0]
        last = 0
        for number, text in enumerate(texts):
            for unit in (*text, number):  # the number is a mark that no text contains: runs end with their reply
                last = self._grow(last, unit)

    def _grow(self, last: int, unit: Any) -> int:
        new = len(self.next)
        self.next.append({})
        self.link.append(0)
        self.length.append(self.length[last] + 1)
        at = last
        while at != -1 and unit not in self.next[at]:
            self.next[at][unit] = new
            at = self.link[at]
        if at != -1:
            follower = self.next[at][unit]
            if self.length[follower] == self.length[at] + 1:
                self.link[new] = follower
            else:
                copy = len(self.next)
                self.next.append(dict(self.next[follower]))
                self.link.append(self.link[follower])
                self.length.append(self.length[at] + 1)
                while at != -1 and self.next[at].get(unit) == follower:
                    self.next[at][unit] = copy
                    at = self.link[at]
                self.link[follower] = self.link[new] = copy
        return new

    def shared(self, stream: Iterable[Sequence[str]]) -> list[str]:
        best: list[str] = []
        for text in stream:
            at = run = 0
            for place, unit in enumerate(text):
                while at and unit not in self.next[at]:
                    at = self.link[at]
                    run = self.length[at]
                if unit in self.next[at]:
                    at = self.next[at][unit]
                    run += 1
                if run > len(best):
                    best = list(text[place + 1 - run : place + 1])
        return best


def _grams(text: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def about(checkpoint: str, identity: str, texts: Sequence[str], finishes: Sequence[str], material: Material) -> Replies:
    """The numbers of some replies. ``finishes`` says how each ended; empty where that is not known."""
    cut = [units(text) for text in texts]
    train = [units(line.text) for line in material.train]
    wanted = {gram for reply in cut for gram in _grams(reply, COPY)}
    present = {gram for line in train for gram in _grams(line, COPY) if gram in wanted} if wanted else set()
    runs = [gram for reply in cut for gram in _grams(reply, COPY)]
    longest = _Longest(cut).shared(train) if train else []
    pool = [unit for reply in cut for unit in reply][:SAMPLE]
    pairs = list(pairwise(pool))
    repeated = [1 - len(set(grams)) / len(grams) for reply in cut if (grams := _grams(reply, 4))]
    total = sum(map(len, cut))
    ended = [finish for finish in finishes if finish]
    return Replies(
        checkpoint=checkpoint,
        digest=identity,
        replies=len(cut),
        units=total,
        snapshot=material.snapshot,
        copied=round(sum(gram in present for gram in runs) / len(runs), 4) if runs and train else None,
        longest=len(longest),
        longest_text=joined_units(longest),
        distinct_1=round(len(set(pool)) / len(pool), 4) if pool else None,
        distinct_2=round(len(set(pairs)) / len(pairs), 4) if pairs else None,
        distinct_units=len(pool),
        repeats=round(mean(repeated), 4) if repeated else None,
        length=median(map(len, cut)) if cut else None,
        length_ratio=_ratio(texts, [line.text for line in material.train]),
        assistant=round(1000 * sum(len(phrases.find(text)) for phrases in (_ASSISTANT, _REFUSAL) for text in texts) / total, 2) if total else None,
        slop=round(1000 * sum(len(_SLOP.find(text)) for text in texts) / total, 2) if total else None,
        cut_off=share(sum(finish == "length" for finish in ended), len(ended)),
    )


def _ratio(texts: Sequence[str], own: Sequence[str]) -> float | None:
    """Median units over the character's, the mean over languages by their replies."""
    theirs, hers = (_by_language(group) for group in (texts, own))
    ratios = [(median(theirs[name]) / max(1.0, median(hers[name])), len(theirs[name])) for name in theirs if name in hers]
    return round(sum(r * n for r, n in ratios) / sum(n for _, n in ratios), 3) if ratios else None


def _by_language(texts: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for text in texts:
        found.setdefault(language(text), []).append(len(units(text)))
    return found


def spoken(persona: Persona) -> dict[str, list[tuple[str, str]]]:
    """``(reply, finish)`` by checkpoint digest: all replies of all reviews, those written ahead among them, each once for its prompt.

    Replies of engines that failed are left out.
    """
    found: dict[str, dict[tuple[str, str], str]] = {}

    def add(prompt: str, side: Side) -> None:
        if side.finish != "error" and side.reply.strip():
            found.setdefault(side.digest, {}).setdefault((prompt, side.reply), side.finish)

    for review in all_reviews(persona):
        asked = {row["id"]: row["messages"][-1]["content"] for _, row in read_lines(persona.reviews / review.id / "prompts.jsonl")}
        for _, row in read_lines(persona.reviews / review.id / "replies.jsonl"):
            add(asked.get(row["prompt"], row["prompt"]), msgspec.convert(row["side"], Side))
        for dealt in rounds(persona, review):
            for side in dealt.sides:
                add(dealt.prompt, side)
    return {name: [(reply, finish) for (_, reply), finish in each.items()] for name, each in found.items()}


def _place(persona: Persona, kind: str, identity: str, data: str) -> Path:
    return persona.private / "company" / f"{kind}-{identity}-{data}.json"


def _kept(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def _keep(path: Path, value: Any) -> None:
    """Write it, and drop what was made of the same checkpoint from older data."""
    for old in path.parent.glob(path.name.rpartition("-")[0] + "-*.json"):
        old.unlink(missing_ok=True)
    write_json(path, value)


def replies_of(persona: Persona, checkpoints: Sequence[Checkpoint]) -> list[Replies]:
    """The numbers of these checkpoints' replies and, at the end, of the character's held-out lines, made where they are not kept."""
    material = Material(persona)
    said = spoken(persona)
    found = []
    for checkpoint in checkpoints:
        identity = digest(checkpoint)
        mine = said.get(identity, [])
        path = _place(persona, "replies", identity, sha256_bytes(msgspec.json.encode([material.identity, mine]))[:12])
        made: Replies | None = _kept(path, Replies)
        if made is None or made.checkpoint != checkpoint.id:
            made = about(checkpoint.id, identity, [reply for reply, _ in mine], [finish for _, finish in mine], material)
            _keep(path, made)
        found.append(made)
    if material.held_out:
        path = _place(persona, "replies", "character", material.identity)
        own: Replies | None = _kept(path, Replies)
        if own is None:
            own = about(CHARACTER, "", [line.text for line in material.held_out], [], material)
            _keep(path, own)
        found.append(own)
    return found


def _cloze(persona: Persona) -> list[Probe]:
    return [probe for probe in load_probes(persona) if probe.kind == "cloze"] if persona.probes.is_file() else []


def _likelihood_data(persona: Persona, material: Material) -> str:
    return sha256_bytes(msgspec.json.encode([material.identity, MOST_LINES, _cloze(persona), persona.manifest.character.system_prompt]))[:12]


def kept_likelihood(persona: Persona, checkpoint: Checkpoint, material: Material | None = None) -> Likelihood | None:
    """What an engine said of the checkpoint over the data as it is now; None if it was not asked."""
    path = _place(persona, "likelihood", digest(checkpoint), _likelihood_data(persona, material or Material(persona)))
    found: Likelihood | None = _kept(path, Likelihood)
    return found


async def likelihood(persona: Persona, server: Server, checkpoint: Checkpoint, progress: Callable[[str], None] = lambda line: None) -> Likelihood:
    """Ask a server that has the checkpoint, and keep the answer. StudioError if the engine cannot score."""
    from studio.engines.client import score_tokens

    material = Material(persona)
    cloze = _cloze(persona)
    model = server.for_checkpoint(checkpoint.id)
    right, chance = 0, 0.0
    for number, probe in enumerate(cloze, 1):
        if number % 10 == 1:
            progress(f"{checkpoint.id}: lore question {number} of {len(cloze)}")
        asked = opening(persona, probe.prompt)
        scores = [(await score_tokens(server, model, asked, answer))[0] / max(1, len(answer)) for answer in (probe.answer, *probe.wrong)]
        right += scores[0] > max(scores[1:])
        chance += 1 / len(scores)
    sums: list[tuple[float, int]] = []
    lines = spread(material.held_out, MOST_LINES)
    for number, line in enumerate(lines, 1):
        if number % 10 == 1:
            progress(f"{checkpoint.id}: held-out line {number} of {len(lines)}")
        before = [{"role": role, "content": content} for role, content in line.before]
        try:
            value, tokens = await score_tokens(server, model, before, line.text)
        except StudioError as error:
            if "too long" in str(error):
                continue
            raise
        sums.append((-value, tokens))
    nats, counted = sum(value for value, _ in sums), sum(tokens for _, tokens in sums)
    surprise = nats / counted if counted else None
    # Of a ratio of sums: the error of the residuals of lines, as in cluster sampling.
    half = 1.96 * stdev([v - surprise * n for v, n in sums]) * sqrt(len(sums)) / counted if surprise is not None and len(sums) > 1 else None
    made = Likelihood(
        checkpoint=checkpoint.id,
        digest=digest(checkpoint),
        engine=server.engine,
        lore_right=share(right, len(cloze)),
        lore_chance=round(chance / len(cloze), 4) if cloze else 0.0,
        surprise=None if surprise is None else round(surprise, 4),
        surprise_low=None if surprise is None or half is None else round(surprise - half, 4),
        surprise_high=None if surprise is None or half is None else round(surprise + half, 4),
        lines=len(sums),
        tokens=counted,
        snapshot=material.snapshot,
    )
    _keep(_place(persona, "likelihood", made.digest, _likelihood_data(persona, material)), made)
    return made


def spread(lines: Sequence[Line], most: int) -> list[Line]:
    """At most so many, evenly over all."""
    if len(lines) <= most:
        return list(lines)
    return [lines[i * len(lines) // most] for i in range(most)]


def company(persona: Persona, checkpoints: Sequence[Checkpoint]) -> list[Company]:
    """What is known of these checkpoints now, without an engine; the character's own lines stand last, where there are any."""
    material = Material(persona)
    known = {c.id: c for c in checkpoints}
    return [
        Company(made.checkpoint, made, kept_likelihood(persona, known[made.checkpoint], material) if made.checkpoint in known else None)
        for made in replies_of(persona, checkpoints)
    ]


def measure(persona: Persona, checkpoints: Sequence[Checkpoint], engine: str = "", progress: Callable[[str], None] = lambda line: None) -> None:
    """Have engines score what is not kept yet, one set of weights at a time; what is started for it is stopped again."""
    from studio.engines.sharing import served

    material = Material(persona)
    families: dict[str, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        if kept_likelihood(persona, checkpoint, material) is None:
            families.setdefault(weights_root(persona, checkpoint).id, []).append(checkpoint)
    for family in families.values():
        with served(persona, family, engine, progress) as servers:
            measure_served(persona, family, servers, progress)


def measure_served(
    persona: Persona, checkpoints: Sequence[Checkpoint], servers: Mapping[str, Server], progress: Callable[[str], None] = lambda line: None
) -> None:
    """Have the servers, by checkpoint id, score what is not kept yet. StudioError if an engine cannot."""
    material = Material(persona)
    for checkpoint in checkpoints:
        if kept_likelihood(persona, checkpoint, material) is None:
            asyncio.run(likelihood(persona, servers[checkpoint.id], checkpoint, progress))
