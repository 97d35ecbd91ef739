"""Everything that votes come to, in one piece: what the ranking shows, on the command line, in the app and in a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from studio.checkpoints.store import all_checkpoints
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.review.company import Company, company
from studio.review.judge import Judged, judged
from studio.review.ranking import Pair, Rank, Ranking, rank
from studio.review.rounds import digest, get_review
from studio.review.voter import LanguageRow, TagRow, Voter, by_language, by_tag, voter
from studio.review.votes import Vote, votes


class Standing(msgspec.Struct):
    """The first three as in ``Ranking``."""

    votes: int
    ranking: list[Rank]
    pairs: list[Pair]
    voter: Voter
    by_tag: list[TagRow]
    by_language: list[LanguageRow]
    company: list[Company]
    """The ranked checkpoints in their order; at the end the character's own held-out lines, where there are any."""
    company_problem: str
    """Why ``company`` is empty, as one sentence."""
    judges: list[Judged]
    stale: int
    """Votes that were left out since a checkpoint was made anew under its name after them."""


def telling(persona: Persona, cast: Iterable[Vote]) -> tuple[list[Vote], int]:
    """The votes on checkpoints as they are now, and how many are on an earlier one of the same name.

    Of a checkpoint that is deleted, the one that was voted on last is meant.
    """
    found = list(cast)
    current: dict[str, str] = {}
    for vote in found:
        current |= {side.checkpoint: side.digest for side in vote.sides}
    current |= {c.id: digest(c) for c in all_checkpoints(persona) if c.id in current}
    kept = [vote for vote in found if all(current[side.checkpoint] == side.digest for side in vote.sides)]
    return kept, len(found) - len(kept)


def standing(persona: Persona, review_id: str = "", checkpoints: Sequence[str] | None = None) -> Standing:
    """All votes of the persona (or of one review), between all checkpoints that have some (or those named).

    Reads files and takes some tenths of a second: call it from a thread.
    """
    if review_id:
        get_review(persona, review_id)
    used, stale = telling(persona, (v for v in votes(persona) if review_id in ("", v.review)))
    if checkpoints is not None:
        used = [v for v in used if all(s.checkpoint in checkpoints for s in v.sides)]
    ranked: Ranking = rank(used, checkpoints)
    names = [r.checkpoint for r in ranked.ranking]
    here = {c.id: c for c in all_checkpoints(persona)}
    beside, problem = [], ""
    try:
        beside = company(persona, [here[name] for name in names if name in here])
    except StudioError as error:
        # A damaged snapshot or probe file costs the numbers beside the ranking, never the ranking.
        problem = str(error)
    return Standing(
        votes=ranked.votes,
        ranking=ranked.ranking,
        pairs=ranked.pairs,
        voter=voter(used),
        by_tag=by_tag(used),
        by_language=by_language(used, names),
        company=beside,
        company_problem=problem,
        judges=judged(persona, used, names, review_id),
        stale=stale,
    )
