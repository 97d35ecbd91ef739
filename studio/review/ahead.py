"""Replies written ahead of the sitting, checkpoint by checkpoint, so that nobody waits while a model is loaded.

``reviews/<id>/prompts.jsonl`` holds what is asked, ``replies.jsonl`` what each checkpoint answered. Both grow only. Rounds are dealt
from them in an instant, between whichever checkpoints are worth comparing now.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import combinations
from typing import TYPE_CHECKING

import msgspec

from studio.checkpoints.store import Checkpoint, get_checkpoint, weights_root
from studio.errors import StudioError
from studio.files import append_line
from studio.growing import grown
from studio.persona.folder import Persona
from studio.review.generate import write_reply
from studio.review.prompts import Prompt
from studio.review.rounds import Review, Round, Side, digest, digests

if TYPE_CHECKING:
    from studio.engines.servers import Server

Progress = Callable[[str, int, int], None]

STREAMS = 8
"""Replies written at the same time by one engine: vLLM batches them; the embedded engine takes them in turn."""

REPEAT_AFTER = 10
"""Votes before the first round is shown once more, and between two repeats: about one vote in eleven is spent on the voter's own
consistency, which is enough for a rough interval in one sitting of 60 rounds and not felt as a burden."""

REPEAT_DISTANCE = 6
"""Rounds that lie between a round and its repeat at least, so that it is judged and not remembered."""


class Reply(msgspec.Struct, frozen=True):
    """One line of ``replies.jsonl``."""

    prompt: str
    side: Side


class Pool:
    """What is written ahead for a review: its prompts and the whole replies of the checkpoints as they are now."""

    def __init__(self, persona: Persona, review: Review) -> None:
        self.persona, self.review = persona, review
        folder = persona.reviews / review.id
        self.prompts = {p.id: p for p in grown(folder / "prompts.jsonl", Prompt)}
        current = digests(persona, review.checkpoints)
        self.replies: dict[str, dict[str, Side]] = {prompt: {} for prompt in self.prompts}
        """By prompt, then checkpoint."""
        for reply in grown(folder / "replies.jsonl", Reply):
            if current.get(reply.side.checkpoint) == reply.side.digest and reply.prompt in self.replies:
                self.replies[reply.prompt][reply.side.checkpoint] = reply.side

    @property
    def missing(self) -> list[tuple[Prompt, str]]:
        """Every prompt and checkpoint without a reply."""
        return [(p, name) for p in self.prompts.values() for name in self.review.checkpoints if name not in self.replies[p.id]]

    def openings(self, past: list[Round]) -> dict[tuple[str, ...], Prompt]:
        """The sets of checkpoints (names sorted) that a round can still be dealt between, each with its prompt: one that all have answered
        and that did not compare these before; what was asked least comes first."""
        asked: Counter[str] = Counter()
        met: dict[tuple[str, ...], set[str]] = {}
        for r in past:
            asked[r.asked] += 1
            met.setdefault(tuple(sorted(s.checkpoint for s in r.sides)), set()).add(r.asked)
        prompts = sorted(self.prompts.values(), key=lambda p: asked[p.id])
        found: dict[tuple[str, ...], Prompt] = {}
        for names in combinations(sorted(self.review.checkpoints), min(self.review.panes, len(self.review.checkpoints))):
            fit = (p for p in prompts if p.id not in met.get(names, ()) and all(name in self.replies[p.id] for name in names))
            if prompt := next(fit, None):
                found[names] = prompt
        return found

    def fill_in(self, dealt: Round, prompt: Prompt) -> Round:
        """The dealt round with the replies that are here."""
        return msgspec.structs.replace(dealt, asked=prompt.id, sides=[self.replies[prompt.id][side.checkpoint] for side in dealt.sides])


def add_prompts(persona: Persona, review: Review, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Put prompts into the pool; those that it asks already are left out."""
    with persona.exclusive():
        pool = Pool(persona, review)
        known = [p.messages for p in pool.prompts.values()]
        added = []
        for prompt in prompts:
            if prompt.messages not in known:
                known.append(prompt.messages)
                added.append(Prompt(f"p{len(known)}", prompt.messages, prompt.source))
                append_line(persona.reviews / review.id / "prompts.jsonl", added[-1])
    return added


def write_ahead(persona: Persona, review: Review, engine: str = "", progress: Progress = lambda doing, done, of: None) -> list[str]:
    """Write every missing reply, one set of weights at a time: its engine is started, asked and stopped before the next one's. What keeps
    the judgement company (lore questions, surprise) is measured while it is there.

    Returns one sentence for each set of weights that failed; the others go on. What is written stays, whenever this ends.
    ``progress`` gets what is being done, the replies written and the replies there will be.
    """
    from studio.engines.sharing import served
    from studio.review.company import measure_served

    pool = Pool(persona, review)
    missing = pool.missing
    total = len(pool.prompts) * len(review.checkpoints)
    done = total - len(missing)
    families: dict[str, dict[str, Checkpoint]] = {}
    for name in dict.fromkeys(name for _, name in missing):
        checkpoint = get_checkpoint(persona, name)
        families.setdefault(weights_root(persona, checkpoint).id, {})[name] = checkpoint
    failures: list[str] = []

    for family in families.values():
        doing = f"Asking {', '.join(family)}"

        def written(reply: Reply, doing: str = doing) -> None:
            nonlocal done
            append_line(persona.reviews / review.id / "replies.jsonl", reply)
            done += 1
            progress(doing, done, total)

        wanted = [(prompt, family[name]) for prompt, name in missing if name in family]
        try:
            with served(persona, list(family.values()), engine or "embedded", lambda line: progress(line, done, total)) as servers:
                problems = asyncio.run(_answer(review, wanted, servers, written))
                with suppress(StudioError):  # an endpoint that cannot score: the company then has a gap
                    measure_served(persona, list(family.values()), servers, lambda line: progress(line, done, total))
        except StudioError as problem:
            failures.append(f"{', '.join(family)}: {problem}")
            continue
        if problems:
            sentence, times = problems.most_common(1)[0]
            failures.append(f"{problems.total()} of {len(wanted)} replies failed, {times} of them so: {sentence}")
    return failures


async def _answer(
    review: Review, wanted: Sequence[tuple[Prompt, Checkpoint]], servers: dict[str, Server], written: Callable[[Reply], None]
) -> Counter[str]:
    """Ask for all replies, ``STREAMS`` at a time; the engine's sentences about those that failed, counted."""
    free = asyncio.Semaphore(STREAMS)
    problems: Counter[str] = Counter()

    async def one(prompt: Prompt, checkpoint: Checkpoint) -> None:
        seed = random.Random(f"{review.seed}:{prompt.id}:{checkpoint.id}").randrange(2**31)
        side = Side(checkpoint.id, digest(checkpoint), seed=seed)
        async with free:
            problem = await write_reply(side, servers[checkpoint.id], prompt.messages, review.sampling)
        if problem:
            problems[problem] += 1
        else:
            written(Reply(prompt.id, side))

    await asyncio.gather(*(one(prompt, checkpoint) for prompt, checkpoint in wanted))
    return problems
