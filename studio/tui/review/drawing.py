"""What the review screen says, line by line, from its state."""

from __future__ import annotations

from typing import NamedTuple

from studio.persona.folder import Persona
from studio.text import count, one_line
from studio.tui.look import Line, Span
from studio.tui.review.state import Phase, State

SHOWN_HISTORY = 4
"""Earlier turns shown above the prompt, one line each."""


def head(state: State) -> list[Span]:
    """The right end of the first line. Which engine answers is not said: two checkpoints may have two."""
    if state.sitting is None:
        return []
    number = f"round {state.round.number} · " if state.round else ""
    facts: list[Span] = [
        (f"{count(len(state.sitting.review.checkpoints), 'checkpoint')} · ", "muted"),
        (f"{count(state.sitting.counted, 'vote')} · ", "muted"),
        (f"{number}{'blind' if state.blind else 'revealed'} · ", "muted"),
    ]
    if state.pooled:
        return [*facts, (f"{state.pooled[0]} of {state.pooled[1]} written", "accent")]
    if state.round and state.round.ahead:
        return [*facts, ("written ahead", "muted")]
    if state.engine_problem:
        return [*facts, ("engine ✗", "bad")]
    if state.starting:
        return [*facts, ("engine starting ○", "warn")]
    return [*facts, ("engine ", "muted"), ("●", "good")] if state.served else [*facts, ("no engine ○", "muted")]


def history(state: State, persona: Persona, writing: bool) -> list[Line]:
    """The turns before the prompt: of the talk to go on with while one writes, else of the round on screen."""
    if state.talk and (writing or state.round is None):
        messages = state.talk.messages
    else:
        messages = state.round.messages[:-1] if state.round and not writing else []
    turns = [m for m in messages if m["role"] != "system"]
    lines: list[Line] = []
    if state.left_out and not writing:
        lines.append([(f"{count(state.left_out, 'earlier message')} left out: more than the models can read", "warn")])
    if len(turns) > SHOWN_HISTORY:
        lines.append([(f"… {count(len(turns) - SHOWN_HISTORY, 'earlier turn')}", "muted")])
    for message in turns[-SHOWN_HISTORY:]:
        who = persona.manifest.character.name if message["role"] == "assistant" else "you"
        lines.append([(f"{one_line(who)}: {one_line(message['content'])}", "muted")])
    if writing and state.talk and state.talk.own:
        lines.append([("Each goes on with its own talk.", "muted")])
    return lines


class Title(NamedTuple):
    """What stands on the frame of a reply."""

    top: str
    foot: str
    winner: bool
    broken: bool


def title(state: State, number: int) -> Title:
    """Of side ``number``, from 0."""
    shown, vote = state.round, state.vote
    broken = number in state.errors
    if shown is None or number >= len(shown.sides):
        return Title(f" {number + 1} ", "", False, broken)
    side = shown.sides[number]
    winner = bool(vote and vote.verdict == str(number + 1))
    parts = [str(number + 1)]
    if vote and not state.blind:
        parts.append(one_line(side.checkpoint))
    top = " · ".join(parts)
    if vote:
        top += {"tie": " = equal", "both_bad": " ✗ not her", "skip": " skipped"}.get(vote.verdict, " ✓ more her" if winner else "")
    foot = ""
    takes = state.takes.get(number)
    if state.phase is Phase.SWIPING and state.chosen == number:
        foot = " another reply "
    elif takes and len(takes.texts) > 1 and takes.at:
        foot = f" another, {takes.at} of {len(takes.texts) - 1}: y takes it "
    elif number in state.corrected:
        foot = {"edited": " as you wrote it ", "swiped": " taken instead "}[state.corrected[number]]
    elif state.phase is not Phase.ASKING:
        foot = _foot(state, number, broken)
    return Title(f" {top} ", foot, winner, broken)


def _foot(state: State, number: int, broken: bool) -> str:
    assert state.round is not None and state.sitting is not None
    side = state.round.sides[number]
    if broken:
        return " cut off: the engine failed "
    if number in state.round.names_itself:
        return " names itself: will not count "
    if side.finish == "length":
        return f" cut off at {state.sitting.review.sampling.max_tokens} tokens "
    return "" if side.reply.strip() else " an empty reply "


def welcome(state: State) -> list[Line]:
    sides = {2: "Two", 3: "Three", 4: "Four"}[state.sitting.review.panes if state.sitting else 2]
    lines: list[Line] = [
        [(f"{sides} checkpoints answer the same prompt, side by side.", "strong")],
        "You say which one is more her, and only then see which was which.",
        "",
    ]
    if state.sitting:
        review = state.sitting.review
        drawn = review.sampling
        if review.reveal == "end":
            lines[1] = "You say which one is more her; which was which stands in the ranking."
        lines += [
            [("between   ", "muted"), (", ".join(one_line(name) for name in review.checkpoints), "plain")],
            [("sampler   ", "muted"), (f"temperature {drawn.temperature:g}, top-p {drawn.top_p:g}, up to {drawn.max_tokens} tokens", "plain")],
            [("review    ", "muted"), (f"{review.id}, {count(state.sitting.counted, 'vote')} so far", "plain")],
            "",
            [
                ("⏎", "accent"),
                (" first round   ", "plain"),
                ("i", "accent"),
                (" write one   ", "plain"),
                ("a", "accent"),
                (" ask from…   ", "plain"),
                ("w", "accent"),
                (" write ahead", "plain"),
            ],
        ]
    if state.starting:
        lines += ["", [(state.news or "Looking for a running engine", "muted")]]
        if state.phase is Phase.ASKING:
            lines.append([("What you asked is put as soon as it is there.", "muted")])
    return lines


def status(state: State, beyond: str = "") -> list[Span]:
    """The line below the replies. ``beyond`` says which replies are not on screen."""
    parts: list[Span] = []
    if state.engine_problem and state.phase not in (Phase.FAILED, Phase.WAITING, Phase.VOTED):
        parts.append((state.engine_problem, "bad"))
    elif state.said:
        parts.append((state.said, "plain"))
    elif state.phase is Phase.ASKING:
        if state.round is None:  # the welcome says how far the engine is
            return parts
        parts.append((f"{state.news}…" if state.starting and state.news else f"{'Both' if state.sides == 2 else 'All'} are writing.", "muted"))
    elif state.phase is Phase.SWIPING:
        parts.append((f"{state.news}…" if state.starting and state.news else "Another reply is being written.", "muted"))
    elif state.phase is Phase.WAITING:
        itself = state.round.names_itself if state.round else []
        if itself:
            parts.append((f"Reply {' and '.join(str(n + 1) for n in itself)} names itself: this round will not count. ", "warn"))
        parts.append(("Which one is her?", "strong"))
        if state.sides > 2:
            parts.append((f"  1–{state.sides}, or ⏎ where you are", "muted"))
    elif state.phase is Phase.FAILED:
        parts += [(next(iter(state.errors.values()), state.engine_problem or "An engine failed."), "bad"), ("  r asks again.", "plain")]
    elif state.phase is Phase.VOTED and state.vote:
        parts.append((verdict(state), "good" if state.vote.blind else "warn"))
        if waiting := len(state.sitting.waiting) if state.sitting else 0:
            parts.append((f"  {count(waiting, 'round')} more to vote on: ⏎ shows the next.", "muted"))
    gap = "  " if parts else ""
    if beyond:
        parts.append((gap + beyond, "accent"))
    if state.tags:
        parts.append((f"{gap}tags: {', '.join(state.tags)}", "accent"))
    if state.note:
        parts.append((f"{gap}note: {one_line(state.note)}", "accent"))
    return parts


def verdict(state: State) -> str:
    """What was saved, in one sentence; without names while they are hidden."""
    vote = state.vote
    assert vote is not None
    names = [str(n + 1) if state.blind else one_line(side.checkpoint) for n, side in enumerate(vote.sides)]
    everyone = ", ".join(names[:-1]) + f" and {names[-1]}"
    neither = f"neither {names[0]} nor {names[1]}" if len(names) == 2 else f"none of {everyone}"
    who = "; ".join(f"{n} was {name}" for n, name in enumerate(names, 1))
    said = {"tie": f"{everyone} equal", "both_bad": neither, "skip": "skipped" if state.blind else f"skipped; {who}"}
    word = said.get(vote.verdict) or f"{names[int(vote.verdict) - 1]} is more her"
    return f"Saved: {word}." + ("" if vote.blind else " It does not count: a reply named itself.")
