"""A review as a Markdown page: what was compared, what came of it, and the rounds worth reading again.

The same review gives the same text, byte for byte. Replies, prompts and names are data: they stand in code blocks and code spans that their
own text cannot close, without control characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from studio.checkpoints.store import all_checkpoints
from studio.files import write_atomic
from studio.persona.folder import Persona
from studio.review import wording
from studio.review.ranking import Rank
from studio.review.rounds import Review, Round, digest, rounds
from studio.review.standing import Standing, standing
from studio.review.votes import Vote, betters, votes
from studio.text import clean, count, one_line

LONGEST = 1200
"""Characters of a reply that are quoted."""
MOST_PROMPTS = 40
EACH = 3
"""Best and worst rounds that are quoted."""


def code(text: str, table: bool = False) -> str:
    """``text`` on one line as a code span; in a table its bars are escaped too."""
    line = one_line(text) or " "
    fence = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    span = f"{fence}{pad}{line}{pad}{fence}"
    return span.replace("|", "\\|") if table else span


def block(text: str) -> list[str]:
    """``text`` as a code block that it cannot leave, cut to ``LONGEST``."""
    shown = clean(text).replace("\r", "").strip("\n")
    cut = f"\n[… {len(shown) - LONGEST:,} characters more]" if len(shown) > LONGEST else ""
    shown = shown[:LONGEST] + cut
    fence = "`" * max(3, max((len(run) for run in re.findall(r"`+", shown)), default=0) + 1)
    return [f"{fence}text", *shown.split("\n"), fence]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: str) -> list[str]:
    """A Markdown table. Cells are taken as they are: names go through ``code`` first."""
    line = "|".join("---:" if way == "r" else "---" for way in right)
    return [f"| {' | '.join(headers)} |", f"|{line}|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def write_report(persona: Persona, review: Review, path: Path | None = None) -> Path:
    """Write the page to ``path``, else beside the review; returns where it is."""
    path = path or persona.reviews / review.id / "report.md"
    write_atomic(path, report(persona, review))
    return path


def report(persona: Persona, review: Review) -> str:
    """The page. Takes some tenths of a second."""
    found = standing(persona, review.id, review.checkpoints)
    played = rounds(persona, review)
    cast = [vote for vote in votes(persona) if vote.review == review.id]
    lines = [f"# {code(persona.manifest.character.name)}: {review.id}", ""]
    lines += _compared(persona, review, played, cast)
    lines += ["## Ranking", ""]
    if found.votes:
        lines += _ranking(found)
    else:
        lines += [wording.NO_VOTES, ""]
    if found.stale:
        lines += [wording.stale_line(found), ""]
    lines += _voter(found)
    lines += _groups(found)
    lines += _company(found)
    if found.judges:
        lines += ["## Second judges", "", "They do not vote.", "", *block("\n".join(wording.judge_lines(found.judges))), ""]
    lines += _rounds(found, cast)
    lines += _corrections(persona, review)
    return "\n".join(lines).rstrip("\n") + "\n"


def _compared(persona: Persona, review: Review, played: Sequence[Round], cast: Sequence[Vote]) -> list[str]:
    here = {c.id: c for c in all_checkpoints(persona)}
    rows: list[tuple[str, ...]] = []
    for name in review.checkpoints:
        c = here.get(name)
        if c is None:
            rows.append((code(name, True), "deleted", "", "", ""))
        else:
            loss = f"{c.metrics['val_loss']:.3f}" if "val_loss" in c.metrics else ""
            rows.append((code(name, True), code(c.scheme or c.stage, True), code(c.parent, True) if c.parent else "", loss, code(digest(c), True)))
    s = review.sampling
    silent = sum(vote.verdict == "skip" for vote in cast)
    seen = sum(not vote.blind for vote in cast)
    again = sum(bool(vote.repeat_of) for vote in cast)
    without = count(len(played) - len({v.round for v in cast}), "round")
    engines = sorted({side.engine for r in played for side in r.sides if side.engine} or {review.engine or "not said"})
    asked: dict[str, str] = {}
    for r in played:
        asked.setdefault(r.prompt, r.source)
    sources = Counter(source.partition(":")[0] or "typed" for source in asked.values())
    lines = [
        f"Begun {review.created}. {count(len(played), 'round')} of {review.panes} replies, {count(len(cast), 'vote')}: "
        f"{silent} skipped, {seen} not blind, {again} on rounds shown once more; {without} without a vote.",
        "",
        "## What was compared",
        "",
        *table(("checkpoint", "made by", "from", "val loss", "digest"), rows, "lllrl"),
        f"Sampler: temperature {s.temperature:g}, top-p {s.top_p:g}, at most {s.max_tokens} tokens, repetition penalty {s.repetition_penalty:g}; "
        f"engine: {', '.join(map(code, engines))}; seed of the review {review.seed}.",
        "",
        f"{count(len(asked), 'prompt')}: {', '.join(f'{n} {code(name)}' for name, n in sorted(sources.items())) or 'none'}.",
        "",
    ]
    shown = list(asked.items())[:MOST_PROMPTS]
    lines += [f"* {code(prompt if len(prompt) <= 160 else prompt[:160] + ' …')} ({code(source)})" for prompt, source in shown]
    if len(asked) > len(shown):
        lines.append(f"* and {len(asked) - len(shown)} more")
    return [*lines, ""] if shown else lines


def _ranking(found: Standing) -> list[str]:
    rows = [
        (
            code(r.checkpoint, True),
            f"{r.score:.0f}",
            wording.interval(r.low, r.high),
            wording.percent(r.best),
            str(r.wins),
            str(r.losses),
            str(r.ties),
            wording.bad(r),
        )
        for r in found.ranking
    ]
    lines = table(("checkpoint", "score", "95 % interval", "best?", "won", "lost", "tie", "both bad (95 %)"), rows, "lrrrrrrr")
    lines += [*block("\n".join(drawn(found.ranking))), ""]
    lines += [
        f"{count(found.votes, 'blind vote')}. Elo points, the mean of all is 1000; ├──●──┤ is the central 95 % of the posterior. "
        "“Both bad” does not move the score.",
        "",
        "### Pairs",
        "",
    ]
    rows_shown, left_out = wording.pair_rows(found)
    pairs = [(code(a, True), code(b, True), wording.percent(p), takes) for a, b, p, takes in rows_shown]
    return [*lines, *table(("better", "than", "chance", "to settle it"), pairs, "llrl"), *([left_out, ""] if left_out else [])]


def drawn(ranks: Sequence[Rank], width: int = 50) -> list[str]:
    """Every interval on one scale, in text; the names stand behind, where their width in cells moves nothing."""
    ends = wording.scale(ranks)
    return [*(f"{wording.bar(r, ends, width)}  {one_line(r.checkpoint)}" for r in ranks), wording.axis(ends, width)]


def _voter(found: Standing) -> list[str]:
    lines = ["## The voter", "", *(f"* {line}" for line in wording.voter_lines(found.voter)), ""]
    rows = [(code(r.checkpoint, True), str(r.rounds), f"{r.own:.0f}", f"{r.opponents:.0f}") for r in found.voter.lengths]
    return [*lines, *(table(("checkpoint", "rounds", "characters (median)", "beside it"), rows, "lrrr") if rows else [])]


def _groups(found: Standing) -> list[str]:
    lines: list[str] = []
    if len(found.by_language) > 1:
        lines += ["## By language of the prompt", ""]
        for group in found.by_language:
            rows = [
                (code(r.checkpoint, True), f"{r.score:.0f}", wording.interval(r.low, r.high), str(r.wins), str(r.rounds))
                for r in group.ranking.ranking
            ]
            lines += [f"{wording.LANGUAGES.get(group.language, group.language)}, {count(group.ranking.votes, 'vote')}", ""]
            lines += table(("checkpoint", "score", "95 % interval", "won", "of"), rows, "lrrrr")
    if found.by_tag:
        tags = [(code(r.tag, True), code(r.checkpoint, True), *map(str, (r.votes, r.won, r.lost, r.ties, r.both_bad))) for r in found.by_tag]
        lines += ["## Tags", "", *table(("tag", "checkpoint", "votes", "won", "lost", "tie", "both bad"), tags, "llrrrrr")]
    return lines


def _company(found: Standing) -> list[str]:
    if found.company_problem:
        return ["## Beside the votes", "", *block(found.company_problem), ""]
    if not found.company:
        return []
    rows = [(code(c.checkpoint, True), *wording.company_cells(c)) for c in found.company]
    lines = ["## Beside the votes", "", *table(("", *wording.COMPANY_TITLES), rows, "l" + "r" * len(wording.COMPANY_TITLES))]
    lines += [f"* {line}" for line in (*wording.COMPANY_LEGEND, *wording.company_origin(found.company))]
    details = wording.company_lines(found.company)
    return [*lines, "", *([*block("\n".join(details)), ""] if details else [])]


def best_and_worst(found: Standing, cast: Sequence[Vote]) -> tuple[list[Vote], list[Vote]]:
    """Rounds worth reading: won with a "lovely line", else won by what ranks highest; and those in which all were bad, else lost with a
    tag. The newest first, each round once."""
    place = {r.checkpoint: n for n, r in enumerate(found.ranking)}
    newest = [v for v in reversed(cast) if v.verdict != "skip" and not v.repeat_of]
    won = [v for v in newest if v.winner]
    won.sort(key=lambda v: ("lovely line" not in v.tags, place.get(v.winner.checkpoint, 99) if v.winner else 99))
    poor = [v for v in newest if v.verdict == "both_bad"]
    poor += [v for v in newest if v.winner and set(v.tags) - {"lovely line"} and v not in won[:EACH]]
    return won[:EACH], poor[:EACH]


def _rounds(found: Standing, cast: Sequence[Vote]) -> list[str]:
    best, worst = best_and_worst(found, cast)
    lines: list[str] = []
    for title, chosen in (("## Best rounds", best), ("## Worst rounds", worst)):
        if not chosen:
            continue
        lines += [title, ""]
        for vote in chosen:
            lines += [f"### {code(vote.round)}", "", *_extras(vote), "Asked:", "", *block(vote.messages[-1]["content"] if vote.messages else ""), ""]
            for side in vote.sides:
                called = "called best" if vote.winner is side else {"tie": "a tie", "both_bad": "both bad"}.get(vote.verdict, "passed over")
                cut = ", cut off by the limit" if side.finish == "length" else ""
                lines += [f"{code(side.checkpoint)} ({called}{cut}):", "", *block(side.reply), ""]
    return lines


def _extras(vote: Vote) -> list[str]:
    parts = []
    if vote.tags:
        parts.append("Tags: " + ", ".join(map(code, vote.tags)) + ".")
    if vote.note:
        parts.append(f"Note: {code(vote.note)}.")
    if not vote.blind:
        parts.append("Not blind.")
    return [" ".join(parts), ""] if parts else []


def _corrections(persona: Persona, review: Review) -> list[str]:
    mended = [(vote, entry) for vote, entry in betters(persona) if vote.review == review.id]
    lines: list[str] = ["## Corrections", ""] if mended else []
    for vote, entry in mended:
        if entry.side >= len(vote.sides):
            continue
        side = vote.sides[entry.side]
        how = "edited" if entry.how == "edited" else "another reply taken"
        lines += [f"### {code(vote.round)}, {code(side.checkpoint)} ({how})", "", "Said:", "", *block(side.reply), "", "Should have said:", ""]
        lines += [*block(entry.text), ""]
    return lines
