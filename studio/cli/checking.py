"""``studio dialogue check | clean | judge | nearest``."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from studio.cli import output
from studio.cli.ticker import Ticker
from studio.errors import UsageError
from studio.text import count, one_line

if TYPE_CHECKING:
    from studio.dialogue.checks import Finding
    from studio.dialogue.nearest import Near
    from studio.persona.folder import Persona

SHOWN = 20
"""Rows of a check that are printed when it is asked for by name; ``--all`` prints every one, ``--json`` holds them always."""


def answer(arguments: Namespace, persona: Persona) -> None:
    {"check": _check, "clean": _clean, "judge": _judge, "nearest": _nearest}[arguments.action](arguments, persona)


def _check(arguments: Namespace, persona: Persona) -> None:
    from studio.dialogue.checks import CHECKS, load_settings, read_change, run, save_settings

    settings = load_settings(persona)
    changes = dict(read_change(text, CHECKS) for text in arguments.set)
    if arguments.save and changes:
        settings.thresholds |= changes
        save_settings(persona, settings)
    if arguments.list:
        listed = [
            {
                "check": c.name,
                "finds": c.finds,
                "threshold": changes.get(c.name, settings.thresholds.get(c.name, c.threshold)),
                "default": c.threshold,
                "meaning": c.meaning,
                "source": c.source,
                "made": "when asked for by name" if c.asked_only else "off" if c.name in settings.off else "always",
            }
            for c in CHECKS.values()
        ]
        if arguments.json:
            output.json(listed)
        else:
            output.table(
                ("check", "threshold", "of", "finds"), [(r["check"], _number(r["threshold"]), r["meaning"], r["finds"]) for r in listed], "lr"
            )
        return
    with Ticker(arguments.json) as progress:
        outcome = run(persona, [part for text in arguments.only for part in text.split(",")], changes, progress, arguments.engine)
    if arguments.json:
        output.json(outcome)
        return
    found = [f for f in outcome.checks if f.offenders]
    for finding in outcome.checks:
        if arguments.only:
            _rows(finding, None if arguments.all else SHOWN)
        elif finding.skipped:
            output.say(f"{finding.check} was not made: {finding.skipped}")
    if not arguments.only and found:
        output.table(
            ("check", "rows", "threshold", "the first of them"),
            [(f.check, len(f.offenders), _number(f.threshold), f"{f.offenders[0].id}: {f.offenders[0].flags[0].what}") for f in found],
            "lrr",
        )
    rows = count(outcome.rows, "row")
    if not outcome.flagged:
        output.say(f"Nothing is wrong by {count(len(outcome.checks), 'check')} in {rows}.")
        return
    output.say(f"{outcome.flagged:,} of {rows} flagged in {outcome.seconds:.1f} s." + ("" if arguments.only else " All rows of one: --only CHECK."))


def _rows(finding: Finding, most: int | None) -> None:
    if finding.skipped:
        output.say(f"{finding.check} was not made: {finding.skipped}")
        return
    output.say(f"{finding.check}: {finding.finds}; threshold {_number(finding.threshold)} ({finding.meaning})")
    for remark in finding.remarks:
        output.say(f"  {remark}")
    for offender in finding.offenders[:most]:
        for flag in offender.flags:
            output.say(f"{offender.source}:{offender.line}: {offender.id}: {flag.what}")
    if most is not None and len(finding.offenders) > most:
        output.say(f"… and {len(finding.offenders) - most:,} more rows (with --all)")


def _clean(arguments: Namespace, persona: Persona) -> None:
    from studio.dialogue.checks import load_settings
    from studio.dialogue.cleaning import carry_out, plan, pseudonyms_path
    from studio.dialogue.privacy import KINDS

    every = [kind for kind in KINDS if kind != "name" or load_settings(persona).names]
    kinds = every if "all" in arguments.redact else [part.strip() for text in arguments.redact for part in text.split(",")]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UsageError(f"There is no personal data of the kind {unknown[0]!r}; there are: {', '.join(KINDS)}, all.")
    checks = [part.strip() for text in arguments.reject for part in text.split(",")]
    if arguments.pseudonyms and not kinds:
        kinds = every
    if not kinds and not checks:
        raise UsageError("Say what is to be cleaned: --redact mail,phone or --redact all, --pseudonyms, --reject CHECK.")
    with Ticker(arguments.json) as progress:
        made, stand_ins = plan(persona, kinds, arguments.pseudonyms, checks, progress)
        done = carry_out(persona, made, stand_ins, progress) if arguments.apply else []
    if arguments.json:
        output.json(
            {
                "replaced": made.replaced,
                "rows_reworded": len(made.texts),
                "rows_rejected": made.reject,
                "examples": made.examples,
                "applied": arguments.apply,
                "done": done,
            }
        )
        return
    for example in made.examples:
        output.say(f"{example.id} turn {example.message + 1}: {example.before} → {example.after}")
    would = "" if arguments.apply else "would be "
    if kinds:
        told = ", ".join(f"{number:,} {kind}" for kind, number in made.replaced.items()) or "nothing"
        output.say(f"{told} {would}replaced in {count(len(made.texts), 'row')}.")
    if checks:
        output.say(f"{count(len(made.reject), 'row')} {would}rejected: kept, and in no build.")
    if not arguments.apply:
        output.say("Nothing was changed; do it with --apply.")
        return
    if not done:
        return
    old = " The originals in sources/ and the steps to undo still hold the old words." if made.texts else ""
    output.say(f"Taken back with: studio dialogue undo.{old}")
    if arguments.pseudonyms and made.replaced:
        output.say(f"Who is who stands in {pseudonyms_path(persona)}.")


def _judge(arguments: Namespace, persona: Persona) -> None:
    from studio.dialogue.judging import judge, judged_path

    with Ticker(arguments.json) as progress:
        made = judge(persona, arguments.url, arguments.model, arguments.limit, progress)
    if arguments.json:
        output.json(made)
        return
    unread = sum(not one.vocabulary for one in made)
    output.say(f"{count(len(made), 'row')} judged by {arguments.model}; the marks are in {judged_path(persona)}.")
    if unread:
        output.say(f"Of {count(unread, 'row')} the answer could not be read.")
    output.say("Rows with low marks: studio dialogue check --only judge-vocabulary,judge-prose,judge-context")


def _nearest(arguments: Namespace, persona: Persona) -> None:
    from studio.dialogue.embedding import Meaning
    from studio.dialogue.nearest import Nearest, replies_of_vote, reply_of_chat

    if sum(map(bool, (arguments.text, arguments.vote, arguments.chat))) != 1:
        raise UsageError("Give one of: a text, --vote ID, --chat ID.")
    if arguments.vote:
        asked = replies_of_vote(persona, arguments.vote, arguments.side)
    elif arguments.chat:
        identity, _, number = arguments.chat.partition(":")
        if number and not number.isdecimal():
            raise UsageError(f"--chat takes an id, or an id and the number of her reply as in ID:3, not {arguments.chat!r}.")
        asked = [reply_of_chat(persona, identity, int(number or 0))]
    else:
        asked = [("", "", arguments.text)]
    meaning = Meaning(persona, arguments.embed) if arguments.embed else None
    held: dict[str, Nearest] = {}
    told: list[tuple[str, str, str, list[Near]]] = []
    for checkpoint, trained_on, reply in asked:
        snapshot = arguments.snapshot or (trained_on if trained_on.startswith("dialogue-") else "")
        if snapshot not in held:
            with Ticker(arguments.json) as progress:
                held[snapshot] = Nearest(persona, snapshot, progress, meaning, [text for *_, text in asked])
        told.append((reply, checkpoint, snapshot, held[snapshot].find(reply, arguments.most)))
    if arguments.json:
        output.json([dict(zip(("reply", "checkpoint", "snapshot", "nearest"), one, strict=True)) for one in told])
        return
    for number, (reply, checkpoint, snapshot, near) in enumerate(told):
        if number:
            output.say()
        if checkpoint:
            output.say(f"{checkpoint} said: {one_line(reply)[:300]}")
        output.say(f"in {snapshot or 'the dialogue as it is now'}:")
        if not near:
            output.say("nothing shares anything with it")
        for row in near:
            alike = "" if row.likeness is None else f"{row.likeness:5.2f}  "
            output.say(f"\n{alike}{row.covered:4.0%}  {row.id}  {row.source}:{row.line}  {one_line(row.prompt)[:80]}")
            output.say(f"      {one_line(marked(row.reply, row.shared))}")


def marked(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with ⟦ ⟧ around these places."""
    for start, stop in reversed(spans):
        text = f"{text[:start]}⟦{text[start:stop]}⟧{text[stop:]}"
    return text


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | int) else str(value)
