"""From a reply to what it may have been learned from: the rows whose replies share most of what is particular in it.

Every gram of five characters of the reply is looked for in all of her replies; rare ones weigh more (BM25 over grams, each counted once a
reply). It needs no index and no model, works in any script, and reads 100,000 rows in some seconds; ``Nearest`` keeps what it read, so that
a second question costs a tenth of that. What two texts share is then shown in whole words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from studio.dialogue.formats import Message
from studio.dialogue.store import REJECTED, Row, rows, shards
from studio.errors import StudioError
from studio.files import read_lines
from studio.near import codes, grams_of, hashed
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.shards import SHARD_ROWS
from studio.text import UNIT, normal

if TYPE_CHECKING:
    from numpy import ndarray

    from studio.dialogue.embedding import Meaning

MOST = 10
COMMON = 0.05
"""Grams in more than this share of the replies say nothing of where a reply is from; they are left out unless all are such."""

RUN = 3
"""Units in a row that are shown as shared; of Han and kana twice as many. Fewer, if there is no such run."""

_CHUNK = 1 << 20
_LOW = 22


class Near(msgspec.Struct):
    """A row with a reply that is near to what was asked."""

    id: str
    source: str
    line: int
    message: int
    """Index of the reply in the row."""
    prompt: str
    """What it answers."""
    reply: str
    score: float
    covered: float
    """Share of what is particular in the text (by weight of its rare grams) that stands in this reply too."""
    shared: list[tuple[int, int]]
    """Where in the reply the shared runs of words are, as ``(start, stop)`` in characters."""
    runs: list[str]
    """These runs, the longest first."""
    tags: list[str] = []
    likeness: float | None = None
    """How alike they are in meaning, by the model that was given: a cosine, -1 to 1; None without one."""


class _Chunk(msgspec.Struct):
    grams: Any
    starts: Any
    """Where each reply begins in ``grams``."""
    first: int
    """Number of the first reply."""


class Nearest:
    """Looks for many texts in the replies of one set of rows. What was read is held (about four bytes a character)."""

    def __init__(
        self,
        persona: Persona,
        snapshot: str = "",
        progress: Progress = quiet,
        meaning: Meaning | None = None,
        asked: Iterable[str] = (),
    ) -> None:
        """``snapshot``: what a checkpoint was trained on, by the id on its card; else the dialogue as it is now, without rejected rows.

        ``meaning``: the model that says what is near; it reads every reply once, and with them what will be ``asked``, in one go.
        """
        self.persona, self.snapshot, self.meaning = persona, snapshot, meaning
        self.chunks: list[_Chunk] = []
        self.lengths: Any = None
        self.places: list[tuple[int, int]] = []
        """By the reply's number: the row's place and the message."""
        self._read(progress)
        self.records: Any = None
        """By the reply's number: that of its record."""
        if meaning:
            meaning.learn(chain(asked, (text for *_, text in self._replies())), progress)
            self.records = meaning.of(text for *_, text in self._replies())

    def _rows(self) -> Iterator[Row]:
        if not self.snapshot:
            return (row for row in rows(self.persona) if row.state != REJECTED)
        path = self.persona.snapshots / self.snapshot / "train.jsonl"
        if not path.is_file():
            raise StudioError(f"There is no dialogue snapshot {self.snapshot!r} in {self.persona.name}; see them with: studio snapshots.")
        return (
            Row(
                str(value["id"]),
                msgspec.convert(value["messages"], list[Message]),
                value.get("source", ""),
                value.get("line", 0),
                value.get("tags", []),
            )
            for _, value in read_lines(path)
        )

    def _replies(self) -> Iterator[tuple[int, int, str]]:
        """``(place of the row, index of the message, text)`` of every reply that says anything."""
        for place, row in enumerate(self._rows()):
            for number, message in enumerate(row.messages):
                if message.role == "assistant" and normal(message.content):
                    yield place, number, message.content

    def _read(self, progress: Progress) -> None:
        import numpy as np

        waiting: list[str] = []
        size = 0
        lengths: list[int] = []

        def hash_waiting() -> None:
            nonlocal size
            if waiting:
                self.chunks.append(_Chunk(*grams_of(waiting), len(lengths) - len(waiting)))
                waiting.clear()
                size = 0

        expected = SHARD_ROWS * len(shards(self.persona))
        for place, number, reply in self._replies():
            if place % 1000 == 0:
                progress("rows read", place, expected)
            text = normal(reply)
            self.places.append((place, number))
            lengths.append(len(text))
            waiting.append(text)
            size += len(text)
            if size >= _CHUNK:
                hash_waiting()
        hash_waiting()
        self.lengths = np.array(lengths, np.float32)

    def find(self, text: str, most: int = MOST) -> list[Near]:
        """The nearest replies, the nearest first, at most one of each row; without a model, none that shares nothing."""
        import numpy as np

        wanted = normal(text)
        if not wanted or not self.places:
            return []
        score, covered = self._shared(wanted)
        likeness = None
        if self.meaning:
            self.meaning.learn([text])
            likeness = self.meaning.likeness(text, self.records)
        best: dict[int, int] = {}
        for number in np.lexsort((np.arange(len(score)), -(score if likeness is None else likeness))):
            if (likeness is None and score[number] <= 0) or len(best) == most:
                break
            best.setdefault(self.places[number][0], int(number))
        return self._told(text, best, score, covered, likeness)

    def _shared(self, wanted: str) -> tuple[ndarray[Any, Any], ndarray[Any, Any]]:
        """By the reply's number: how much of what is particular in the text it shares, with its length allowed for, and as a share."""
        import numpy as np

        whole = len(self.places)
        grams = np.unique(hashed(np.frombuffer(codes(wanted), np.uint32)))
        replies, which = self._hits(grams)
        if not len(replies):
            return np.zeros(whole), np.zeros(whole)
        seen = np.bincount(which, minlength=len(grams))
        particular = seen <= max(5.0, COMMON * whole)
        if not particular.any() or not (seen[particular] > 0).any():
            particular[:] = True
        weight = np.where(particular, np.log(1 + (whole - seen + 0.5) / (seen + 0.5)), 0.0)
        score = np.bincount(replies, weights=weight[which], minlength=whole)
        covered = score / weight.sum()
        score *= 2.2 / (1 + 1.2 * (0.7 + 0.3 * self.lengths / self.lengths.mean()))
        return score, covered

    def _hits(self, grams: ndarray[Any, Any]) -> tuple[ndarray[Any, Any], ndarray[Any, Any]]:
        """Pairs of a reply and a gram of the question that stands in it, each once."""
        import numpy as np

        possible = np.zeros(1 << _LOW, bool)
        low = np.uint32((1 << _LOW) - 1)
        possible[grams & low] = True
        found: list[Any] = []
        for chunk in self.chunks:
            places = np.flatnonzero(possible[chunk.grams & low])
            at = np.searchsorted(grams, chunk.grams[places])
            right = grams[np.minimum(at, len(grams) - 1)] == chunk.grams[places]
            places, at = places[right], at[right]
            reply = np.searchsorted(chunk.starts, places, side="right") - 1 + chunk.first
            found.append(np.unique(reply.astype(np.int64) * len(grams) + at))
        pairs = np.concatenate(found) if found else np.empty(0, np.int64)
        return pairs // len(grams), pairs % len(grams)

    def _told(
        self, text: str, best: dict[int, int], score: ndarray[Any, Any], covered: ndarray[Any, Any], likeness: ndarray[Any, Any] | None
    ) -> list[Near]:
        by_number: dict[int, Near] = {}
        last = max(best, default=-1)
        for place, row in enumerate(self._rows()):
            if place > last:
                break
            if place in best:
                number = best[place]
                message = self.places[number][1]
                if message >= len(row.messages):
                    raise StudioError("The dialogue was changed while it was looked through; ask again.")
                reply = row.messages[message].content
                before = row.messages[message - 1].content if message and row.messages[message - 1].role == "user" else ""
                spans = shared_runs(text, reply) if covered[number] else []
                runs = sorted({" ".join(reply[start:stop].split()) for start, stop in spans}, key=lambda run: (-len(run), run))
                by_number[number] = Near(
                    row.id,
                    row.source,
                    row.line,
                    message,
                    before,
                    reply,
                    round(float(score[number]), 2),
                    round(float(covered[number]), 3),
                    spans,
                    runs,
                    row.tags,
                    None if likeness is None else round(float(likeness[number]), 4),
                )
        return [by_number[number] for number in best.values() if number in by_number]


def nearest(persona: Persona, text: str, most: int = MOST, snapshot: str = "", progress: Progress = quiet) -> list[Near]:
    """The training rows nearest to a text. For more than one question, hold a ``Nearest``."""
    return Nearest(persona, snapshot, progress).find(text, most)


def shared_runs(text: str, reply: str) -> list[tuple[int, int]]:
    """Where in ``reply`` the runs of words are that stand in ``text`` too, whatever their case: the longest possible, none in another."""
    asked = [match[0].casefold() for match in UNIT.finditer(text)]
    said = [(match[0].casefold(), match.start(), match.end()) for match in UNIT.finditer(reply)]
    unspaced = sum(len(unit) == 1 and unit > "\u2fff" for unit in asked) * 2 > len(asked)
    for length in range(RUN * 2 if unspaced else RUN, 0, -1):
        wanted = {tuple(asked[at : at + length]) for at in range(len(asked) - length + 1)}
        covered = [False] * len(said)
        for at in range(len(said) - length + 1):
            if tuple(unit for unit, _, _ in said[at : at + length]) in wanted:
                covered[at : at + length] = [True] * length
        if any(covered):
            return list(_joined(said, covered))
    return []


def _joined(said: Sequence[tuple[str, int, int]], covered: Sequence[bool]) -> Iterable[tuple[int, int]]:
    start = stop = -1
    for (_, begin, end), mine in zip(said, covered, strict=True):
        if mine:
            start, stop = (begin if start < 0 else start), end
        elif start >= 0:
            yield start, stop
            start = -1
    if start >= 0:
        yield start, stop


def replies_of_vote(persona: Persona, identity: str, side: int = 0) -> list[tuple[str, str, str]]:
    """``(checkpoint, snapshot it was trained on, reply)`` of the sides of a vote or round by its id, or of one side (from 1).

    Without ``side``: those that were not called best; all of them after a tie or both bad.
    """
    from studio.checkpoints.lineage import dialogue_of
    from studio.review.rounds import all_reviews, rounds
    from studio.review.votes import votes

    vote = next((vote for vote in votes(persona) if identity in (vote.id, vote.round)), None)
    sides = vote.sides if vote else next((r.sides for review in all_reviews(persona) for r in rounds(persona, review) if r.id == identity), None)
    if sides is None:
        raise StudioError(f"There is no vote and no round {identity!r} in {persona.name}.")
    if side > len(sides):
        raise StudioError(f"{identity} has {len(sides)} sides, so there is no side {side}.")
    winner = vote.winner if vote else None
    chosen = [sides[side - 1]] if side else [one for one in sides if one is not winner]
    return [(one.checkpoint, dialogue_of(persona, one.checkpoint), one.reply) for one in chosen]


def reply_of_chat(persona: Persona, identity: str, number: int = 0) -> tuple[str, str, str]:
    """``(checkpoint, snapshot, reply)`` of her ``number``-th reply in a chat, from 1; 0: her last."""
    from studio.checkpoints.lineage import dialogue_of
    from studio.review.chats import read_chat

    chat = read_chat(persona, identity)
    said = [m for m in chat.messages if m.role == "assistant"]
    if not said or number > len(said):
        raise StudioError(f"In the chat {identity} she has {len(said)} replies" + (f", so there is no {number}." if said else "."))
    one = said[number - 1]
    checkpoint = one.checkpoint or chat.checkpoint
    return checkpoint, dialogue_of(persona, checkpoint), one.content
