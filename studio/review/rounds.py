"""A review: a sitting in which replies of several checkpoints are compared blind, round by round.

``reviews/<id>/review.toml`` says between whom and how; ``rounds.jsonl`` holds every finished round with all that was sent and
answered. Votes are kept for the whole persona in ``votes.jsonl``. Both grow only.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Literal

import msgspec
import tomli_w

from studio.checkpoints.store import Checkpoint, all_checkpoints, get_checkpoint
from studio.errors import StudioError
from studio.files import append_line, fsync_folder, write_atomic
from studio.growing import grown
from studio.persona.folder import Persona


class Sampling(msgspec.Struct, frozen=True):
    """How replies are drawn: one setting for all sides of a review. Only what every engine obeys."""

    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 300
    repetition_penalty: float = 1.0


class Review(msgspec.Struct, frozen=True):
    """``review.toml``."""

    id: str
    checkpoints: list[str]
    sampling: Sampling
    seed: int
    created: str
    engine: str = ""
    panes: int = 2
    """Replies side by side in a round, 2 to 4."""
    reveal: Literal["vote", "end"] = "vote"
    """When the names are shown: after each vote, or only in the ranking at the end."""
    talk: Literal["shared", "own"] = "shared"
    """What goes on after a vote: the winner's reply for all sides, or each side's own."""


class Side(msgspec.Struct):
    """One reply of a round and who gave it."""

    checkpoint: str
    digest: str
    """sha256 of the checkpoint's weights, so that a vote stays true when names are used again."""
    reply: str = ""
    finish: str = ""
    """``stop`` she ended her turn, ``length`` she was cut off, ``error`` the engine failed."""
    tokens: int = 0
    seconds: float = 0.0
    """From asking to the end of the reply."""
    first: float = 0.0
    """From asking to its first piece of text."""
    seed: int = 0
    engine: str = ""
    own: list[dict[str, str]] = []
    """What this side was sent where each side keeps its own talk; empty: the round's messages."""

    def sent(self, shared: list[dict[str, str]]) -> list[dict[str, str]]:
        """What this side was sent, the prompt last."""
        return self.own or shared


class Round(msgspec.Struct):
    """One prompt and its replies, in the order in which they stand on screen."""

    id: str
    review: str
    number: int
    messages: list[dict[str, str]]
    """What was sent, the prompt last."""
    sides: list[Side]
    source: str = "typed"
    """Where the prompt came from: ``typed``, ``probe:ID``, ``dialogue:ROW``, ``greeting`` or ``scene``."""
    t: float = 0.0
    asked: str = ""
    """Id of the prompt in the review's pool, where its replies were written ahead of the sitting; else empty."""
    repeat_of: str = ""
    """The round that it shows once more, sides turned, to see whether the voter agrees with themselves; such a vote is not counted again."""

    @property
    def ahead(self) -> bool:
        """Whether its replies were written before it was dealt."""
        return bool(self.asked)

    @property
    def prompt(self) -> str:
        return self.messages[-1]["content"]

    @property
    def names_itself(self) -> list[int]:
        """Indexes of sides whose reply contains the name of a checkpoint of the round: they are no longer blind."""
        names = {side.checkpoint for side in self.sides if side.checkpoint != "base"}
        return [i for i, side in enumerate(self.sides) if any(name in side.reply for name in names)]


def digest(checkpoint: Checkpoint) -> str:
    """A short stable hash of what a checkpoint is."""
    from studio.files import sha256_bytes

    return sha256_bytes(msgspec.json.encode([checkpoint.id, checkpoint.base, sorted(checkpoint.digests.items())]))[:16]


def digests(persona: Persona, names: Sequence[str]) -> dict[str, str]:
    """The digest of each checkpoint as it is now, all cards read once. StudioError if one is no more."""
    known = {c.id: c for c in all_checkpoints(persona)}
    return {name: digest(known[name] if name in known else get_checkpoint(persona, name)) for name in names}


def open_review(
    persona: Persona,
    asked: list[str],
    sampling: Sampling | None = None,
    seed: int | None = None,
    engine: str = "",
    panes: int = 2,
    reveal: Literal["vote", "end"] = "vote",
    talk: Literal["shared", "own"] = "shared",
) -> Review:
    """Begin a review of 2 to 8 checkpoints, ``panes`` of them side by side in a round."""
    checkpoints = list(dict.fromkeys(get_checkpoint(persona, name).id for name in asked))
    if not 2 <= len(checkpoints) <= 8:
        raise StudioError(f"A review compares 2 to 8 different checkpoints, not {len(checkpoints)}.")
    with persona.exclusive():
        persona.reviews.mkdir(exist_ok=True)
        numbers = [int(p.name.rpartition("-")[2]) for p in persona.reviews.glob("review-*") if p.name.rpartition("-")[2].isdigit()]
        review = Review(
            id=f"review-{max(numbers, default=0) + 1}",
            checkpoints=checkpoints,
            sampling=sampling or Sampling(),
            seed=random.SystemRandom().randrange(2**31) if seed is None else seed,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            engine=engine,
            panes=min(panes, len(checkpoints)),
            reveal=reveal,
            talk=talk,
        )
        write_atomic(persona.reviews / review.id / "review.toml", tomli_w.dumps(msgspec.to_builtins(review)))
        fsync_folder(persona.reviews)
    return review


def read_review(folder: Path) -> Review:
    try:
        return msgspec.toml.decode((folder / "review.toml").read_bytes(), type=Review)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"The review {folder} cannot be read: {error}.") from error


def all_reviews(persona: Persona) -> list[Review]:
    folders = [path.parent for path in persona.reviews.glob("review-*/review.toml")]
    return [read_review(folder) for folder in sorted(folders, key=lambda path: int(path.name.rpartition("-")[2]))]


def get_review(persona: Persona, review_id: str = "") -> Review:
    """The review with that id; the newest for ``""``."""
    found = all_reviews(persona)
    if not found:
        raise StudioError(f"There is no review in {persona.name} yet; begin one with: studio review CKPT CKPT.")
    if not review_id:
        return found[-1]
    for review in found:
        if review.id == review_id:
            return review
    raise StudioError(f"There is no review {review_id!r}; there are: {', '.join(r.id for r in found)}.")


def rounds(persona: Persona, review: Review) -> list[Round]:
    """Finished rounds, the oldest first."""
    return grown(persona.reviews / review.id / "rounds.jsonl", Round)


def record(persona: Persona, review: Review, finished: Round) -> Round:
    """Keep a finished round; it is on disk when this returns."""
    append_line(persona.reviews / review.id / "rounds.jsonl", finished)
    return finished


def deal(
    persona: Persona,
    review: Review,
    messages: list[dict[str, str]],
    among: Sequence[str],
    past: list[Round],
    source: str = "typed",
) -> Round:
    """A new round without replies between the checkpoints ``among``: who stands where is random, but none stands in one place much more often.

    The same review seed and history deal the same sides again, so that a crash cannot be used to look behind them.
    """
    number = len(past) + 1
    chance = random.Random(f"{review.seed}:{number}:{':'.join(sorted(among))}")
    known = digests(persona, among)
    sides = [Side(name, known[name], seed=chance.randrange(2**31)) for name in _order(sorted(among), past, chance)]
    return Round(
        id=f"{review.id}.{number}",
        review=review.id,
        number=number,
        messages=messages,
        sides=sides,
        source=source,
        t=time.time(),
    )


def _order(names: list[str], past: list[Round], chance: random.Random) -> list[str]:
    """Leans towards the places where each has stood more rarely, without making it certain: a voter who counts along learns nothing."""
    stood = Counter((side.checkpoint, place) for r in past if {s.checkpoint for s in r.sides} == set(names) for place, side in enumerate(r.sides))
    orders = list(permutations(names))
    weights = [sum(stood[name, place] for place, name in enumerate(order)) for order in orders]
    rarest = [order for order, weight in zip(orders, weights, strict=True) if weight == min(weights)]
    return list(chance.choice(rarest if chance.random() < 0.8 or len(rarest) == len(orders) else [o for o in orders if o not in rarest]))


def turned(review: Review, earlier: Round, past: list[Round]) -> Round:
    """An earlier round once more, its sides in another order, to see whether the voter says the same again."""
    number = len(past) + 1
    places = [*range(1, len(earlier.sides)), 0]
    return msgspec.structs.replace(
        earlier, id=f"{review.id}.{number}", number=number, sides=[earlier.sides[i] for i in places], repeat_of=earlier.id, t=time.time()
    )
