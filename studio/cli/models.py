"""``studio checkpoints | fetch | serve | chat | probe | doctor``."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from studio.checkpoints.herself import verdict
from studio.checkpoints.store import Checkpoint, all_checkpoints, delete_checkpoint, get_checkpoint, listing, tree
from studio.cli import output
from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona
from studio.text import size

if TYPE_CHECKING:
    from studio.engines.client import Sampler
    from studio.engines.servers import Server


def checkpoints(arguments: Namespace, persona: Persona) -> int | None:
    match arguments.action:
        case "show":
            found = get_checkpoint(persona, arguments.checkpoint)
            if arguments.json:
                output.json(found)
            else:
                for key, value in msgspec.to_builtins(found).items():
                    if key == "recipe":
                        continue
                    output.say(f"{key}: {', '.join(f'{k} {v}' for k, v in value.items()) if isinstance(value, dict) else value}")
        case "delete":
            gone = delete_checkpoint(persona, arguments.checkpoint)
            output.say(f"{gone.id} is deleted ({size(gone.metrics.get('bytes', 0))}); its card is kept in checkpoints/deleted.jsonl.")
        case "merge":
            return _merge(arguments, persona)
        case "herself":
            return _herself(arguments, persona)
        case "salvage":
            return _salvage(arguments, persona)
        case "best":
            _best(arguments, persona)
        case "tree":
            print_tree(all_checkpoints(persona))
        case _:
            if arguments.json:
                output.json(listing(persona))
            else:
                print_tree(all_checkpoints(persona))
    return None


def _best(arguments: Namespace, persona: Persona) -> None:
    from studio.checkpoints.best import MEASURES, best, best_lines

    found = best(persona, arguments.by)
    if arguments.json:
        output.json({"by": arguments.by, "words": MEASURES[arguments.by].words, "groups": found})
        return
    for line in best_lines(persona, arguments.by, found):
        output.say(line)


def _herself(arguments: Namespace, persona: Persona) -> int | None:
    """The verdict that stands in the card; measured first where there is none, or where it is asked for anew."""
    from studio.checkpoints import herself
    from studio.cli.training import queued
    from studio.examining import start_examining
    from studio.recipes.schema import Herself

    checkpoint = get_checkpoint(persona, arguments.checkpoint)
    found = herself.read_comparison(Path(checkpoint.path)) if checkpoint.path else None
    against = get_checkpoint(persona, arguments.against).id if arguments.against else checkpoint.parent
    if found is None or arguments.again or found.against != against:
        run = start_examining(persona, checkpoint.id, Herself(against=arguments.against))
        if not arguments.wait:
            return queued([run], arguments)
        if code := queued([run], Namespace(wait=True, json=False)):
            return code
        found = herself.read_comparison(Path(checkpoint.path))
    said = herself.verdict(found.metrics) if found else None
    if found is None or said is None:
        raise StudioError(f"{checkpoint.id} was measured and nothing of it is there; measure it again with --again.")
    if arguments.json:
        output.json({"checkpoint": checkpoint.id, "verdict": said.word, "why": said.why, **msgspec.to_builtins(found)})
        return None
    output.say(f"{checkpoint.id} against {found.against}: {herself.SIGNS[said.word]} {said.word}; {said.why}.")
    output.table(("", "", "herself"), herself.rows(found.metrics))
    for reply in found.replies:
        where = "the same" if reply.same else f"part at token {reply.parts_at}"
        output.say(f"\n{reply.prompt}  ({where})")
        output.side_by_side([found.against, checkpoint.id], [reply.before, reply.after], output.width())
    output.say(f"\nHear both without knowing which is which: studio review {found.against} {checkpoint.id}")
    return None


def _salvage(arguments: Namespace, persona: Persona) -> int | None:
    """Say which failed checkpoints may be worth more together; with --start, queue the merges."""
    from studio import salvage
    from studio.cli.training import queued

    failed, suggested = salvage.suggest(persona)
    if arguments.start and suggested:
        runs = salvage.start(persona, suggested)
        if code := queued(runs, arguments):
            return code
        if arguments.wait and not arguments.json:
            for run, wanted in zip(runs, suggested, strict=True):
                review = salvage.open_review(persona, wanted, run)
                output.say(f"Hear it beside its parents: studio review next --review {review}   (or key 7 in the app)")
        return 0
    if arguments.json:
        output.json({"failed": failed, "suggested": suggested})
        return None
    output.table(("failed", "why"), [(f.checkpoint, f.why) for f in failed])
    for s in suggested:
        weights = f" by {', '.join(f'{w:.2f}' for w in s.weights)}" if s.weights else ""
        output.say(
            f"Worth a try: {s.method} of {' and '.join(s.checkpoints)}{weights}, to {'an adapter' if s.result == 'adapter' else 'full weights'}."
        )
    if suggested:
        output.say("Queue them with --start; then hear them blind: studio review CKPT CKPT MERGE")
    else:
        output.say("Nothing to salvage: no two failed neighbours on the same weights that were not merged already.")
    return None


def _merge(arguments: Namespace, persona: Persona) -> int:
    from studio.cli.training import queued
    from studio.merging import start_merge
    from studio.recipes.schema import Merge

    try:
        weights, late = ([float(part) for part in given.split(",")] if given else [] for given in (arguments.weights, arguments.late))
        settings = {"method": arguments.method, "weights": weights, "late": late, "density": arguments.density, "result": arguments.result}
        recipe = msgspec.convert({"checkpoints": arguments.checkpoints, **settings}, Merge)
    except ValueError as error:
        raise UsageError(f"These are no values for a merge: {error}.") from error
    return queued([start_merge(persona, recipe)], arguments)


def print_tree(found: list[Checkpoint]) -> None:
    """The family tree with losses and sizes."""
    rows = []
    for depth, c in tree(found):
        losses = {key: f"{c.metrics[key]:.3f}" if key in c.metrics else "" for key in ("train_loss", "val_loss")}
        gap = f"{c.metrics['gap']:+.1%}" if "gap" in c.metrics else ""
        weight = size(c.metrics["bytes"]) if "bytes" in c.metrics else ""
        said = verdict(c.metrics)
        name = ("└" + "──" * (depth - 1) + " " if depth else "") + c.id
        rows.append((name, c.scheme or c.stage, losses["train_loss"], losses["val_loss"], gap, said.word if said else "", weight))
    output.table(("checkpoint", "stage", "train", "val", "gap", "", "size"), rows, "llrrrlr")


def fetch(arguments: Namespace) -> int:
    from studio.checkpoints.fetch import fetch_base

    path = fetch_base(arguments.base, output.progress)
    if arguments.json:
        output.json({"base": arguments.base, "path": str(path)})
    else:
        output.say(f"{arguments.base} is in {path}.")
    return 0


def doctor(arguments: Namespace) -> int:
    from studio.doctor import readings
    from studio.engines import environment

    if arguments.bench:
        return bench(arguments)
    if arguments.fix and not environment.status().ready:
        environment.build(output.progress)
    found = readings()
    if arguments.json:
        output.json(found)
    else:
        marks = {"ok": "✓", "missing": "✗", "note": "·"}
        output.table(("", "", ""), [(marks[r.verdict], r.subject, r.found) for r in found])
        for reading in found:
            if reading.mend:
                output.say(f"{reading.subject}: {reading.mend}")
    return 0


def bench(arguments: Namespace) -> int:
    """Measure this machine on the pocket base, or on the base of the persona around."""
    from studio import benching
    from studio.checkpoints.base import POCKET, require_base
    from studio.persona.folder import open_persona

    base = arguments.bench if arguments.bench != "here" else POCKET
    if arguments.persona:
        base = open_persona(Path(arguments.persona)).manifest.base
    made = benching.measure(base, require_base(base), output.progress)
    if arguments.json:
        output.json(made)
        return 0
    output.say(f"{made.base} on {made.device}")
    first = {t.stage: t.tokens_per_s for t in reversed(made.timings)}
    rows = [
        (t.stage, t.option, f"{t.tokens_per_s:,.0f}", f"{t.tokens_per_s / first[t.stage]:.2f}" if first[t.stage] else "", size(t.peak), t.problem)
        for t in made.timings
    ]
    output.table(("", "option", "tokens/s", "times", "memory", ""), rows, "llrrr")
    return 0


def serve(arguments: Namespace, persona: Persona) -> None:
    from studio.cli.serving import serve as answer

    answer(arguments, persona)


def _sampler(arguments: Namespace) -> Sampler:
    from studio.engines.client import Sampler

    return Sampler(temperature=arguments.temperature, max_tokens=arguments.max_tokens, seed=arguments.seed)


def chat(arguments: Namespace, persona: Persona) -> None:
    """Ask several checkpoints side by side, or talk with the first in turns. Servers that were started for it are stopped again."""
    from studio.engines.sharing import served

    wanted = [get_checkpoint(persona, word) for word in arguments.checkpoints]
    if not arguments.say and len(wanted) > 1:
        raise UsageError("Talking in turns is with one checkpoint; give --say TEXT to ask several, or compare them with: studio review")
    with served(persona, wanted, arguments.engine, output.progress) as found:
        if arguments.say:
            replies = asyncio.run(_ask_all(persona, found, arguments.say, _sampler(arguments)))
            if arguments.json:
                output.json([{"checkpoint": name, "reply": reply} for name, reply in replies.items()])
            else:
                output.side_by_side(list(replies), list(replies.values()), output.width())
        else:
            _talk(persona, found[wanted[0].id], wanted[0].id, _sampler(arguments))


async def _ask_all(persona: Persona, served: dict[str, Server], text: str, sampler: Sampler) -> dict[str, str]:
    from studio.engines.client import stream_chat
    from studio.review.probes import opening

    async def one(name: str, server: Server) -> str:
        return "".join([d.text async for d in stream_chat(server, server.models[name], opening(persona, text), sampler)])

    replies = await asyncio.gather(*(one(name, server) for name, server in served.items()))
    return dict(zip(served, replies, strict=True))


def _talk(persona: Persona, server: Server, name: str, sampler: Sampler) -> None:
    """A plain conversation line by line; an empty line or Ctrl+D ends it."""
    from studio.engines.client import stream_chat
    from studio.review.chats import begin_chat
    from studio.review.probes import opening
    from studio.text import clean

    log = begin_chat(persona, name)
    messages = opening(persona, "")[:-1]
    while True:
        try:
            line = input(f"{persona.manifest.character.user}: ").strip()
        except EOFError:
            line = ""
        if not line:
            return
        messages.append({"role": "user", "content": line})
        log.add("user", line)
        print(f"{persona.manifest.character.name}: ", end="", flush=True)

        async def answer() -> str:
            reply = ""
            async for delta in stream_chat(server, server.models[name], messages, sampler):
                print(clean(delta.text), end="", flush=True)
                reply += delta.text
            return reply

        reply = asyncio.run(answer())
        print()
        messages.append({"role": "assistant", "content": reply})
        log.add("assistant", reply)


def probe(arguments: Namespace, persona: Persona) -> None:
    from studio.engines.sharing import served
    from studio.review.probes import ask, load_probes

    wanted = [get_checkpoint(persona, word) for word in arguments.checkpoints]
    probes = load_probes(persona)
    if arguments.limit:
        probes = [p for kind in ("open", "cloze") for p in [x for x in probes if x.kind == kind][: arguments.limit]]

    async def everything(found: dict[str, Server]) -> dict[str, list[Any]]:
        results: dict[str, list[Any]] = {name: [] for name in found}
        for p in probes:
            answers = await asyncio.gather(*(ask(persona, server, name, p, _sampler(arguments)) for name, server in found.items()))
            for name, answer in zip(found, answers, strict=True):
                results[name].append(answer)
            output.progress(f"{p.id}: {p.prompt}")
        return results

    with served(persona, wanted, arguments.engine, output.progress) as found:
        results = asyncio.run(everything(found))
    if arguments.json:
        output.json(results)
    else:
        print_probes(probes, results)


def print_probes(probes: list[Any], results: dict[str, list[Any]]) -> None:
    """Open probes side by side, then the accuracy on the cloze questions with its interval."""
    from studio.review.probes import accuracy

    for i, p in enumerate(probes):
        if p.kind == "open":
            output.say(f"\n{p.id}  {p.prompt}")
            output.side_by_side(list(results), [found[i].reply for found in results.values()], output.width())
    rows = []
    for name, found in results.items():
        scored = accuracy(found)
        if scored.asked:
            low, high = scored.interval
            rows.append((name, f"{scored.right} of {scored.asked}", f"{low:.0%} to {high:.0%}", f"{scored.chance:.0%}"))
    if rows:
        output.say("\nLore questions (which answer does it find likeliest?)")
        output.table(("checkpoint", "right", "95 % interval", "guessing"), rows)
