"""``studio review``: the app's review, or its parts one by one: deal, next, vote, undo, rank, report, company, judge, better, pairs, keep, list."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from studio.cli import output, preferring, standing
from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona
from studio.review import rounds
from studio.review.votes import TAGS, VERDICTS, cast, undo, votes


def review(arguments: Namespace, persona: Persona) -> int | None:
    words = arguments.words
    match words[:1]:
        case ["deal"]:
            return _deal(arguments, persona, words[1:])
        case ["next"]:
            _next(arguments, persona)
        case ["vote"]:
            _vote(arguments, persona, words[1:])
        case ["undo"]:
            gone = undo(persona, rounds.get_review(persona, arguments.review))
            output.say(f"The vote on {gone.round} is taken back; it can be voted on again.")
        case ["rank"]:
            standing.rank(arguments, persona)
        case ["report"]:
            standing.report(arguments, persona)
        case ["company"]:
            standing.company(arguments, persona, words[1:])
        case ["judge"]:
            standing.judge(arguments, persona)
        case ["better"]:
            preferring.better(arguments, persona, words[1:])
        case ["pairs"]:
            preferring.pairs(arguments, persona)
        case ["keep"]:
            preferring.keep(arguments, persona, words[1:])
        case ["list"]:
            _list(arguments, persona)
        case _:
            from studio.checkpoints.store import get_checkpoint
            from studio.tui.app import run

            return run(persona.root, review=[get_checkpoint(persona, word).id for word in words])
    return None


def _deal(arguments: Namespace, persona: Persona, names: list[str]) -> int:
    """Have every checkpoint of a review answer prompts ahead of the sitting. They come from ``--say``, ``--probes`` and ``--held-out``."""
    from studio import launch
    from studio.cli.training import follow
    from studio.review import prompts
    from studio.review.ahead import Pool, add_prompts

    if names:
        drawn = rounds.Sampling(arguments.temperature, arguments.top_p, arguments.max_tokens, arguments.repetition_penalty)
        opened = rounds.open_review(persona, names, drawn, engine=arguments.engine, panes=arguments.panes)
        _say_left_aside(persona, names, drawn)
    else:
        opened = rounds.get_review(persona, arguments.review)
    asked = prompts.written(persona, arguments.say)
    asked += prompts.probes(persona, arguments.probes) if arguments.probes else []
    asked += prompts.held_out(persona, arguments.held_out) if arguments.held_out else []
    add_prompts(persona, opened, asked)
    pool = Pool(persona, opened)
    if not pool.prompts:
        raise UsageError("Nothing to ask: give --say TEXT (more than once for several), --probes N or --held-out N.")
    run = launch.start_ahead(persona, opened.id, arguments.engine)
    code = follow(run, quiet=arguments.json) if arguments.wait else 0
    missing = len(Pool(persona, opened).missing)
    if arguments.json:
        output.json({"review": opened.id, "run": run.id, "prompts": len(pool.prompts), "missing": missing})
    elif arguments.wait:
        output.say(f"{opened.id}: {len(pool.prompts)} prompts are answered; see the first round blind with: studio review next")
    else:
        output.say(f"{run.id} is queued and writes {missing} replies for {opened.id}; what is there can be voted on: studio review next")
    return code


def _say_left_aside(persona: Persona, names: list[str], drawn: rounds.Sampling) -> None:
    """Before an unfair comparison: which of these settings an outside endpoint would not obey."""
    import asyncio

    from studio.checkpoints.store import get_checkpoint
    from studio.engines.client import left_aside
    from studio.engines.servers import external
    from studio.review.generate import sampler_of

    for checkpoint in (get_checkpoint(persona, name) for name in names):
        if checkpoint.kind == "external":
            there = external(checkpoint.path, {checkpoint.id: checkpoint.name}, name=checkpoint.id)
            if ignored := asyncio.run(left_aside(there, sampler_of(drawn))):
                output.progress(f"{checkpoint.id} leaves aside, without a word: {', '.join(ignored)}; the others obey it.")


def _next(arguments: Namespace, persona: Persona) -> None:
    """The oldest round without a vote; else a fresh one from what was written ahead."""
    from studio.review.sitting import Sitting

    sitting = Sitting(persona, rounds.get_review(persona, arguments.review))
    waiting = sitting.waiting[0] if sitting.waiting else sitting.deal_ahead()
    if arguments.json:
        blind = None if waiting is None else {"round": waiting.id, "messages": waiting.messages, "replies": [s.reply for s in waiting.sides]}
        output.json(blind)
    elif waiting is None:
        output.say("Every round has its vote; make more with: studio review deal --say TEXT, or see: studio review rank")
    else:
        output.say(f"{waiting.id}\nyou: {waiting.prompt}\n")
        places = [str(number + 1) for number in range(len(waiting.sides))]
        output.side_by_side(places, [side.reply for side in waiting.sides], output.width())
        output.say(f"\nstudio review vote {waiting.id} {'|'.join([*places, *(v for v in VERDICTS if not v.isdigit())])}")


def _vote(arguments: Namespace, persona: Persona, words: list[str]) -> None:
    if len(words) != 2:
        raise UsageError(f"studio review vote ROUND {'|'.join(VERDICTS)}")
    round_id, said = words[0], words[1].replace("-", "_")
    verdict = next((v for v in VERDICTS if v == said), None)
    if verdict is None:
        raise UsageError(f"{words[1]!r} is no verdict; there are: {', '.join(VERDICTS)}.")
    if unknown := [tag for tag in arguments.tag if tag not in TAGS]:
        raise UsageError(f"{unknown[0]!r} is no tag; there are: {', '.join(TAGS)}.")
    opened = rounds.get_review(persona, round_id.rpartition(".")[0])
    voted = next((r for r in rounds.rounds(persona, opened) if r.id == round_id), None)
    if voted is None:
        raise StudioError(f"There is no round {round_id!r} in {opened.id}; see the next open one with: studio review next")
    vote = cast(persona, opened, voted, verdict, tags=arguments.tag, note=arguments.note)
    names = [side.checkpoint for side in voted.sides]
    if arguments.json:
        output.json({"vote": vote.id, "verdict": verdict, "sides": names, "winner": vote.winner.checkpoint if vote.winner else None})
    else:
        output.say(
            ", ".join(f"{n} was {name}" for n, name in enumerate(names, 1))
            + "."
            + ("" if vote.blind else " It does not count: a reply named itself.")
        )


def _list(arguments: Namespace, persona: Persona) -> None:
    cast_votes = votes(persona)
    rows: list[dict[str, Any]] = [
        {
            "id": r.id,
            "checkpoints": r.checkpoints,
            "rounds": len(rounds.rounds(persona, r)),
            "votes": sum(v.review == r.id for v in cast_votes),
            "created": r.created,
        }
        for r in rounds.all_reviews(persona)
    ]
    if arguments.json:
        output.json(rows)
    else:
        output.table(
            ("review", "rounds", "votes", "begun", "checkpoints"),
            [(r["id"], r["rounds"], r["votes"], r["created"], ", ".join(r["checkpoints"])) for r in rows],
            "lrr",
        )
