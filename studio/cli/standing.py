"""``studio review rank | report | company | judge``: what votes come to."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from studio.cells import fitted
from studio.cli import output
from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona
from studio.review import rounds

ROOM = 80
"""Columns of every table here, unless the terminal has more."""


def room() -> int:
    """Columns there are for a table."""
    return max(ROOM, min(output.width(), 120))


def rank(arguments: Namespace, persona: Persona) -> None:
    from studio.review import wording
    from studio.review.standing import standing

    found = standing(persona, arguments.review)
    if arguments.json:
        output.json(found)
        return
    if not found.votes:
        output.say("No blind vote has been cast yet; compare two checkpoints with: studio review CKPT CKPT")
        return
    if arguments.by == "tag":
        _by_tag(found.by_tag)
        return
    if arguments.by == "language":
        for row in found.by_language:
            output.say(f"{wording.LANGUAGES.get(row.language, row.language)}: {row.ranking.votes} votes")
            _say(ranking_table(row.ranking.ranking))
            output.say()
        return
    _say(ranking_table(found.ranking))
    if found.stale:
        output.say(wording.stale_line(found))
    output.say()
    pairs, left_out = wording.pair_rows(found)
    _say(fitted(("better", "than", "chance", ""), [(a, b, wording.percent(p), takes) for a, b, p, takes in pairs], "llrl", room()))
    if left_out:
        output.say(left_out)
    output.say()
    for line in wording.voter_lines(found.voter):
        _say(wrap(line, ROOM))
    if found.voter.lengths:
        rows = [(r.checkpoint, f"{r.own:.0f}", f"{r.opponents:.0f}", str(r.rounds)) for r in found.voter.lengths]
        output.say()
        _say(fitted(("checkpoint", "characters a reply", "of those beside it", "rounds"), rows, "lrrr", room()))
    if found.company:
        output.say()
        _say(company_table(found.company))
    if found.company_problem:
        output.say(f"\nNo numbers beside the votes: {found.company_problem}")
    if found.judges:
        output.say()
        _say(wording.judge_lines(found.judges))


def ranking_table(ranks: Sequence[object]) -> list[str]:
    from studio.review import wording
    from studio.review.ranking import Rank

    rows = []
    for r in ranks:
        assert isinstance(r, Rank)
        score = (f"{r.score:.0f}", wording.interval(r.low, r.high), wording.percent(r.best))
        rows.append((r.checkpoint, *score, str(r.wins), str(r.losses), str(r.ties), wording.bad(r)))
    return fitted(("checkpoint", "score", "95 % interval", "best?", "won", "lost", "tie", "both bad (95 %)"), rows, "lrrrrrrr", room())


def company_table(found: Sequence[object]) -> list[str]:
    from studio.review import wording
    from studio.review.company import Company

    rows = [(c.checkpoint, *wording.company_cells(c)) for c in found if isinstance(c, Company)]
    known = [c for c in found if isinstance(c, Company)]
    table = fitted(("checkpoint", *wording.COMPANY_TITLES), rows, "l" + "r" * len(wording.COMPANY_TITLES), room())
    return [*table, *wording.COMPANY_LEGEND, *wording.company_origin(known)]


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        output.say(line)


def _by_tag(rows: Sequence[object]) -> None:
    from studio.review.voter import TagRow

    if not rows:
        output.say("No counted vote has a tag yet; give one with: studio review vote ROUND VERDICT --tag TAG")
        return
    found = [r for r in rows if isinstance(r, TagRow)]
    cells = [(r.checkpoint, r.tag, *map(str, (r.votes, r.won, r.lost, r.ties, r.both_bad))) for r in found]
    _say(fitted(("checkpoint", "tag", "votes", "won", "lost", "tie", "both bad"), cells, "llrrrrr", room()))


def company(arguments: Namespace, persona: Persona, names: Sequence[str]) -> None:
    """What keeps the judgement company; without ``--offline`` an engine is asked for what is not known yet."""
    from studio.checkpoints.store import all_checkpoints, get_checkpoint
    from studio.review import company as beside
    from studio.review import wording

    if names:
        wanted = [get_checkpoint(persona, name) for name in names]
    else:
        said = beside.spoken(persona)
        wanted = [c for c in all_checkpoints(persona) if rounds.digest(c) in said]
    if not wanted:
        raise StudioError(f"No checkpoint of {persona.name} has spoken in a review yet; name some: studio review company CKPT")
    if not arguments.offline:
        beside.measure(persona, wanted, arguments.engine, output.progress)
    found = beside.company(persona, wanted)
    if arguments.json:
        output.json(found)
        return
    _say(company_table(found))
    _say(wording.company_lines(found))
    for each in found:
        if each.replies and each.replies.longest >= beside.COPY and each.checkpoint != beside.CHARACTER:
            output.say(f"{each.checkpoint} copied: {each.replies.longest_text[:300]}")


def judge(arguments: Namespace, persona: Persona) -> None:
    from studio.review import wording
    from studio.review.judge import judge as ask
    from studio.review.standing import standing

    if not arguments.url or not arguments.model:
        raise UsageError("studio review judge --url URL --model NAME (the key, if one is needed, in STUDIO_EXTERNAL_KEY)")
    opened = rounds.get_review(persona, arguments.review)
    made = ask(persona, opened, arguments.url, arguments.model, arguments.limit, output.progress)
    found = standing(persona, opened.id).judges
    if arguments.json:
        output.json({"review": opened.id, "judged": len(made), "judges": found})
    else:
        output.say(f"{opened.id}: {len(made)} rounds judged now. Judges do not vote; this is how they compare with the person:")
        _say(wording.judge_lines(found))


def report(arguments: Namespace, persona: Persona) -> None:
    from studio.review.report import report as write
    from studio.review.report import write_report

    opened = rounds.get_review(persona, arguments.review)
    if arguments.to:
        path = write_report(persona, opened, Path(arguments.to).expanduser())
        if arguments.json:
            output.json({"review": opened.id, "path": str(path)})
        else:
            output.say(f"The report on {opened.id} is in {path}.")
    elif arguments.json:
        output.json({"review": opened.id, "markdown": write(persona, opened)})
    else:
        output.say(write(persona, opened).rstrip("\n"))
