"""A sitting: one way through a review, round by round. What the review screen does, without a screen.

Everything here reads and writes files: call it from a thread, or from a program without an event loop.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from studio.checkpoints.store import all_checkpoints
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.review.ahead import REPEAT_AFTER, REPEAT_DISTANCE, Pool
from studio.review.probes import Probe, load_probes
from studio.review.rounds import Review, Round, Sampling, all_reviews, deal, digest, open_review, record, rounds, turned
from studio.review.votes import Verdict, Vote, cast, undo, votes

PROBE = "probe:"


def resume(persona: Persona, checkpoint_ids: list[str] | None = None, sampling: Sampling | None = None, engine: str = "") -> Review:
    """The newest review if it compares these checkpoints (any, if none are named) in this way; else a new one.

    StudioError if none are named and there is no review yet.
    """
    newest = next(reversed(all_reviews(persona)), None)
    if not checkpoint_ids:
        if newest is None:
            raise StudioError(f"There is no review in {persona.name} yet; choose two checkpoints to compare.")
        return newest
    if newest and set(newest.checkpoints) == set(checkpoint_ids) and sampling in (None, newest.sampling):
        return newest
    return open_review(persona, checkpoint_ids, sampling, engine=engine)


class Sitting:
    """Where a review stands."""

    def __init__(self, persona: Persona, review: Review) -> None:
        self.persona = persona
        self.review = review
        self.past: list[Round] = []
        """Every recorded round, the oldest first."""
        self.votes: dict[str, Vote] = {}
        """Standing votes of this review, by round."""
        self.reload()

    def reload(self) -> None:
        self.past = rounds(self.persona, self.review)
        self.votes = {vote.round: vote for vote in votes(self.persona) if vote.review == self.review.id}

    @property
    def waiting(self) -> list[Round]:
        """Whole rounds without a vote, the oldest first. Those in which an engine failed cannot be voted on and do not wait."""
        return [r for r in self.past if r.id not in self.votes and not any(side.finish == "error" for side in r.sides)]

    @property
    def counted(self) -> int:
        """Votes that say something (skips do not)."""
        return sum(vote.verdict != "skip" for vote in self.votes.values())

    def next_probe(self) -> Probe:
        """The first probe of the persona's file that this review has not used; StudioError when all are used."""
        used = {r.source.removeprefix(PROBE) for r in self.past if r.source.startswith(PROBE)}
        probes = load_probes(self.persona)
        for probe in probes:
            if probe.id not in used:
                return probe
        raise StudioError(
            f"All {len(probes)} probes were used in {self.review.id}; write a prompt of your own, or add probes to {self.persona.probes}."
        )

    def deal(self, messages: list[dict[str, str]], source: str = "typed", among: Sequence[str] = ()) -> Round:
        """A new round, its sides shuffled; between the checkpoints whose vote is worth most unless ``among`` names them."""
        from studio.review.ranking import next_sides

        self.reload()
        chosen = among or next_sides(self.telling_votes(), self.review.checkpoints, self.review.panes)
        return deal(self.persona, self.review, messages, chosen, self.past, source)

    def deal_ahead(self) -> Round | None:
        """The next round from the replies that were written ahead, or an earlier one once more; on disk when this returns.

        Between the checkpoints whose vote is worth most, as long as there is a prompt that they have not met on; None when all is asked.
        """
        from studio.review.ranking import next_sides

        self.reload()
        pool = Pool(self.persona, self.review)
        if not pool.prompts:
            return None
        if again := self._due_again():
            return self.keep(turned(self.review, again, self.past))
        openings = pool.openings(self.past)
        if not openings:
            return None
        waiting = [[side.checkpoint for side in r.sides] for r in self.waiting]
        among = next_sides(self.telling_votes(), self.review.checkpoints, self.review.panes, list(openings), waiting)
        prompt = openings[tuple(sorted(among))]
        return self.keep(pool.fill_in(deal(self.persona, self.review, prompt.messages, among, self.past, prompt.source), prompt))

    def _due_again(self) -> Round | None:
        """A decided round to be shown once more, when one is due."""
        since = 0
        for r in reversed(self.past):
            if r.repeat_of:
                break
            since += r.id in self.votes and self.votes[r.id].verdict != "skip"
        if since < REPEAT_AFTER:
            return None
        repeated = {r.repeat_of for r in self.past}
        decided = [r for r in self.past[:-REPEAT_DISTANCE] if r.id in self.votes and self.votes[r.id].verdict != "skip" and r.ahead]
        fit = [r for r in decided if not r.repeat_of and r.id not in repeated]
        return random.Random(f"{self.review.seed}:{len(self.past)}").choice(fit) if fit else None

    @property
    def ahead(self) -> bool:
        """Whether prompts were put into the review's pool."""
        return (self.persona.reviews / self.review.id / "prompts.jsonl").is_file()

    def keep(self, finished: Round) -> Round:
        """Put a finished round on disk."""
        record(self.persona, self.review, finished)
        self.past.append(finished)
        return finished

    def vote(self, voted: Round, verdict: Verdict, tags: list[str] | None = None, note: str = "") -> Vote:
        """Cast a vote; it is on disk when this returns."""
        vote = cast(self.persona, self.review, voted, verdict, tags=tags, note=note)
        self.votes[voted.id] = vote
        return vote

    def undo(self) -> Round:
        """Take the newest vote back; its round waits again."""
        gone = undo(self.persona, self.review)
        self.votes.pop(gone.round, None)
        found = next((r for r in self.past if r.id == gone.round), None)
        if found is None:
            # The round's own line was lost with a damaged file; the vote holds all of it.
            number = gone.round.rpartition(".")[2]
            found = Round(
                gone.round,
                gone.review,
                int(number) if number.isdigit() else 0,
                gone.messages,
                gone.sides,
                gone.source,
                gone.t,
                repeat_of=gone.repeat_of,
            )
        return found

    def telling_votes(self) -> list[Vote]:
        """All votes of the persona on the checkpoints of this review as they are now: one made anew under an old name starts anew."""
        current = {c.id: digest(c) for c in all_checkpoints(self.persona) if c.id in self.review.checkpoints}
        return [vote for vote in votes(self.persona) if all(current.get(side.checkpoint) == side.digest for side in vote.sides)]
