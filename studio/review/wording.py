"""What the numbers of a standing say, in the same words on the command line, in the app and in a report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from studio.review.company import CHARACTER, SAMPLE, Company
from studio.review.judge import Judged
from studio.review.ranking import Pair, Rank, Ranking
from studio.review.shares import Share
from studio.review.standing import Standing
from studio.review.voter import Leaning, Voter
from studio.text import count, one_line

NO_VOTES = "No blind vote has been cast yet: the ranking begins with the first one."

LANGUAGES = {"latin": "Latin script", "zh": "Chinese", "ja": "Japanese", "ko": "Korean", "ru": "Cyrillic script"}

COMPANY_TITLES = ("copied", "run", "varied", "rep.", "length", "AI", "slop", "cut", "lore", "nats")
COMPANY_LEGEND = (
    "copied: runs of 8 words (Chinese: characters) that stand in the training dialogue; run: the longest such run",
    "varied: different pairs among the first 500 words; rep.: runs of 4 that the reply had before",
    "length: of the character's own lines; AI, slop: stock phrases of assistants and of models, per 1,000 words",
    "cut: ran into the limit of tokens; lore: lore questions right; nats: surprise per token at unseen lines of the character",
)


def percent(value: float) -> str:
    """``62%``; never a certainty that nobody has."""
    return ">99%" if 0.995 <= value < 1 else "<1%" if 0 < value < 0.005 else f"{value:.0%}"


def scale(ranks: Sequence[Rank]) -> tuple[float, float]:
    """The ends of the one scale on which all intervals are drawn; the mean of all, 1000, lies on it."""
    return min(999.0, *(r.low for r in ranks)), max(1001.0, *(r.high for r in ranks))


def bar(rank: Rank, ends: tuple[float, float], width: int) -> str:
    """The interval of a score on the common scale: ``  ├──●────┤ ``, a dot at 1000 where it does not lie over it."""
    low, high = ends
    step = (width - 1) / (high - low)
    left, middle, right, mean = (round((value - low) * step) for value in (rank.low, rank.score, rank.high, 1000.0))
    marks = ["─" if left < x < right else "·" if x == mean else " " for x in range(width)]
    marks[left], marks[right] = "├", "┤"
    marks[middle] = "●"
    return "".join(marks)


def axis(ends: tuple[float, float], width: int) -> str:
    """What stands at the ends of the scale."""
    left, right = f"{ends[0]:.0f}", f"{ends[1]:.0f}"
    return left + " " * max(1, width - len(left) - len(right)) + right


def interval(low: float, high: float) -> str:
    return f"{low:.0f} to {high:.0f}"


def of(found: Share) -> str:
    """``3 of 10 (11 to 61%)``."""
    return f"{found.k} of {found.n} ({100 * found.low:.0f} to {100 * found.high:.0f}%)"


def bad(rank: Rank) -> str:
    """The share of rounds in which all were bad, with its interval: ``8% (1-22)``."""
    if not rank.rounds:
        return ""
    return f"{rank.both_bad / rank.rounds:.0%} ({100 * rank.bad_low:.0f}-{100 * rank.bad_high:.0f})"


def ordered(pairs: Sequence[Pair]) -> list[tuple[str, str, float, str]]:
    """``(better, worse, chance, what it takes)``; the clearest first."""
    found = []
    for pair in sorted(pairs, key=lambda p: (-abs(p.p_a_better - 0.5), p.a, p.b)):
        a, b, p = (pair.a, pair.b, pair.p_a_better) if pair.p_a_better >= 0.5 else (pair.b, pair.a, 1 - pair.p_a_better)
        if pair.votes_needed == 0:
            takes = "settled"
        elif pair.votes_needed is None:
            takes = "too close to be worth settling"
        else:
            takes = f"about {count(pair.votes_needed, 'more vote')}"
        found.append((a, b, p, takes))
    return found


MOST_PAIRS = 15
"""Pairs that are listed whole: those of six checkpoints. Of more, only neighbours in the ranking are."""


def pair_rows(found: Ranking | Standing) -> tuple[list[tuple[str, str, float, str]], str]:
    """The pairs worth reading, as ``ordered``, and a sentence on those left out."""
    if len(found.pairs) <= MOST_PAIRS:
        return ordered(found.pairs), ""
    names = [r.checkpoint for r in found.ranking]
    near = {frozenset(pair) for pair in pairwise(names)}
    shown = [pair for pair in found.pairs if {pair.a, pair.b} in near]
    return ordered(shown), f"Neighbours in the ranking; {len(found.pairs) - len(shown)} other pairs are in: studio review rank --json"


def _leaning(found: Leaning, what: str, fitted: str) -> str:
    if not found.of.n:
        return f"{what}: no vote that could tell."
    said = f"{what} won {of(found.of)}; without a leaning {found.expected:.0%}."
    if found.fitted is not None and found.low is not None and found.high is not None:
        said += f" {fitted} {found.fitted:.0%} ({100 * found.low:.0f} to {100 * found.high:.0f}%)"
        said += ": a leaning." if found.leans else ": no leaning to be seen."
    return said


def voter_lines(voter: Voter) -> list[str]:
    """Sentences about the voter."""
    if not voter.votes:
        return [NO_VOTES]
    lines = [f"{count(voter.votes, 'blind vote')}, {voter.decided} of them called one reply best."]
    if voter.decided:
        lines.append(_leaning(voter.left, "The first place", "Between two equals it wins"))
        lines.append(_leaning(voter.longer, "The longest reply", "Between two equals, twice the length wins"))
        if len(voter.places) > 2:
            lines.append("By place: " + ", ".join(f"{n}: {place.k} of {place.n}" for n, place in enumerate(voter.places, 1)) + ".")
    again = voter.consistency
    if again.same.n:
        turned = f" {again.turned} turned to another reply, {again.same_place} of them by keeping to the place." if again.turned else ""
        lines.append(f"Rounds shown once more: {of(again.same)} judged the same.{turned}")
    else:
        lines.append("No round was shown once more yet, so nothing is known of how far the voter agrees with themselves.")
    return lines


def length_lines(voter: Voter) -> list[str]:
    return [
        f"{one_line(row.checkpoint)}: {row.own:.0f} characters a reply, beside replies of {row.opponents:.0f} (medians, {count(row.rounds, 'round')})"
        for row in voter.lengths
    ]


def company_cells(found: Company) -> list[str]:
    """One text for each of ``COMPANY_TITLES``; ``-`` where nothing is known."""
    replies, likelihood = found.replies, found.likelihood
    cells = ["-"] * len(COMPANY_TITLES)
    if replies and replies.replies:
        cells[:8] = [
            "-" if replies.copied is None else percent(replies.copied),
            str(replies.longest) if replies.snapshot else "-",
            "-" if replies.distinct_2 is None or replies.distinct_units < SAMPLE else f"{replies.distinct_2:.0%}",
            "-" if replies.repeats is None else percent(replies.repeats),
            "-" if replies.length_ratio is None else f"{replies.length_ratio:.1f}x",
            "-" if replies.assistant is None else f"{replies.assistant:.1f}",
            "-" if replies.slop is None else f"{replies.slop:.1f}",
            f"{replies.cut_off.k / replies.cut_off.n:.0%}" if replies.cut_off.n else "-",
        ]
    if likelihood:
        cells[8] = f"{likelihood.lore_right.k}/{likelihood.lore_right.n}" if likelihood.lore_right.n else "-"
        cells[9] = "-" if likelihood.surprise is None else f"{likelihood.surprise:.2f}"
    return cells


def company_lines(found: Sequence[Company]) -> list[str]:
    """What has an interval, for each checkpoint with it."""
    lines = []
    for each in found:
        parts = []
        if each.likelihood and each.likelihood.lore_right.n:
            parts.append(f"lore questions {of(each.likelihood.lore_right)}")
        if each.likelihood and each.likelihood.surprise is not None:
            low, high = each.likelihood.surprise_low, each.likelihood.surprise_high
            ends = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
            parts.append(f"surprise {each.likelihood.surprise:.2f} nats{ends}")
        if each.replies and each.replies.cut_off.n:
            parts.append(f"cut off {of(each.replies.cut_off)}")
        if parts:
            lines.append(f"{one_line(each.checkpoint)}: {'; '.join(parts)}")
    return lines


def company_origin(found: Sequence[Company]) -> list[str]:
    """From what the numbers are."""
    lines = []
    replies = [c.replies for c in found if c.replies]
    own = [r for r in replies if r.checkpoint != CHARACTER]
    if own:
        few, many = min(r.replies for r in own), max(r.replies for r in own)
        compared = own[0].snapshot or "no dialogue snapshot yet"
        lines.append(f"From {few if few == many else f'{few} to {many}'} replies of each in all reviews, against the training rows of {compared}.")
    held = next((r for r in replies if r.checkpoint == CHARACTER), None)
    if held:
        lines.append(f"“{CHARACTER}”: {count(held.replies, 'held-out line')} of the same snapshot, that is, how real lines measure.")
    scored = [c.likelihood for c in found if c.likelihood]
    if scored:
        engines = " and ".join(sorted({s.engine for s in scored}))
        lines.append(
            f"lore and nats by the {engines} engine: {count(scored[0].lore_right.n, 'question')} (guessing {scored[0].lore_chance:.0%}), "
            f"{count(scored[0].lines, 'held-out line')} with {scored[0].tokens:,} tokens."
        )
    elif own:
        lines.append("lore and nats are not measured yet: studio review company")
    return lines


def judge_lines(judges: Sequence[Judged]) -> list[str]:
    lines = []
    for judge in judges:
        name = f"{one_line(judge.model)} at {one_line(judge.host)}"
        unclear = f", {judge.unclear} unclear" if judge.unclear else ""
        lines.append(f"{name}: {count(judge.rounds, 'round')}, {judge.disagreed} with two minds{unclear}.")
        if judge.agreement.n:
            lines.append(
                f"  Says what the person says on {of(judge.agreement)}; where both call one best, on {of(judge.agreement_decided)}"
                f" (by chance {judge.decided_by_chance:.0%})."
            )
        lines += [f"  {one_line(r.checkpoint)}: {r.score:.0f} ({interval(r.low, r.high)}) by its verdicts" for r in judge.ranking.ranking]
    return lines


def stale_line(found: Standing) -> str:
    return f"{count(found.stale, 'vote')} left out: a checkpoint was made anew under its name after them." if found.stale else ""
