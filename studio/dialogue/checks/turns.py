"""Who speaks, in which order, and how much: empty and one-sided turns, broken order, rows that are too long or short."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from studio.dialogue.checks.base import Check, Context, Examiner, about, hers
from studio.dialogue.flags import Flag
from studio.dialogue.store import Row
from studio.errors import StudioError


class _EmptyTurn(Examiner):
    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.least = check.name, context.threshold(check)

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        found = []
        for number, message in enumerate(row.messages):
            letters = sum(c.isalnum() for c in message.content) if len(message.content) < 50 else self.least
            if letters < self.least:
                whose = {"assistant": "her turn", "user": "the user's turn"}.get(message.role, f"the {message.role}'s message")
                found.append(Flag(self.name, f"{whose} says nothing: {about(message.content)}", letters, number))
        return found


class _OneSided(Examiner):
    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.least = check.name, context.threshold(check)

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        said = {role: sum(len(m.content) for m in row.messages if m.role == role) for role in ("user", "assistant")}
        whole = sum(said.values())
        share = min(said.values()) / whole if whole else 0.0
        if share > self.least:
            return ()
        less = min(said, key=lambda role: said[role])
        who = "she says" if less == "assistant" else "the user says"
        return [Flag(self.name, f"{who} {'nothing' if not said[less] else f'{share:.1%} of it'}", round(share, 4))]


class _TurnOrder(Examiner):
    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.most = check.name, context.threshold(check)

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        wrong = []
        roles = [m.role for m in row.messages]
        for number, (one, other) in enumerate(pairwise(roles), 1):
            if one == other:
                wrong.append((number, "two turns of one side in a row"))
            elif other == "system":
                wrong.append((number, "a system message after the first turn"))
        if roles and roles[-1] != "assistant":
            wrong.append((len(roles) - 1, "the last word is not hers: nothing is learned from what stands before it"))
        return [Flag(self.name, what, len(wrong), number) for number, what in wrong] if len(wrong) > self.most else ()


class _SpeaksFirst(Examiner):
    """Where the base is here, only what its template refuses or leaves out is flagged."""

    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.most, self.context = check.name, context.threshold(check), context
        self.refused: bool | None = None

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        first = next((number for number, m in enumerate(row.messages) if m.role == "user"), len(row.messages))
        hers_before = sum(m.role == "assistant" for m in row.messages[:first])
        if hers_before <= self.most or not self._refused(row):
            return ()
        return [Flag(self.name, "she speaks first, and the base's template has no place for that", hers_before, 0)]

    def _refused(self, row: Row) -> bool:
        if self.context.base is None:
            return True
        if self.refused is None:
            from studio.checkpoints.templates import render

            try:
                mark = "opening words"
                self.refused = mark not in render(self.context.template, [{"role": "assistant", "content": mark}, {"role": "user", "content": "so"}])
            except StudioError:
                self.refused = True
        return self.refused


class _TooLong(Examiner):
    """Rows whose bytes already fit are not tokenized: a token is at least one byte."""

    times = 2
    FEW = 256

    def __init__(self, check: Check, context: Context) -> None:
        from studio.checkpoints.base import context_length, require_base
        from studio.recipes.files import resolve

        self.name, self.context = check.name, context
        base = require_base(context.persona.manifest.base)
        recipe_length = int(getattr(resolve(context.persona, "sft"), "length", 2048))
        self.most = int(context.threshold(check)) or min(recipe_length, context_length(base))
        self.waiting: list[tuple[int, str]] = []
        self.tokens: dict[int, int] = {}

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        if time == 2:
            tokens = self.tokens.get(index, 0)
            return [Flag(self.name, f"{tokens:,} tokens, {tokens - self.most:,} more than the {self.most:,} that are read", tokens)] if tokens else ()
        from studio.checkpoints.templates import render

        messages = self.context.messages(row)
        if sum(len(m["content"].encode("utf-8", "surrogatepass")) + 40 for m in messages) + 40 <= self.most:
            return ()
        try:
            text = render(self.context.template, messages)
        except StudioError as error:
            return [Flag(self.name, f"{str(error).removesuffix('.')}; it would be left out of training")]
        self.waiting.append((index, text))
        if len(self.waiting) >= self.FEW:
            self._count()
        return ()

    def _count(self) -> None:
        encoded = self.context.tokenizer.encode_batch_fast([text for _, text in self.waiting], add_special_tokens=False)
        for (index, _), encoding in zip(self.waiting, encoded, strict=True):
            if len(encoding) > self.most:
                self.tokens[index] = len(encoding)
        self.waiting.clear()

    def seen(self, time: int) -> None:
        if self.waiting:
            self._count()


class _Exchanges(Examiner):
    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.bound, self.few = check.name, context.threshold(check), check.name == "few-exchanges"

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        number = sum(m.role == "assistant" for m in row.messages)
        if number >= self.bound if self.few else number <= self.bound:
            return ()
        return [Flag(self.name, f"{number} {'exchange' if number == 1 else 'exchanges'}", number)]


class _LongReply(Examiner):
    times = 2

    def __init__(self, check: Check, context: Context) -> None:
        self.name, self.most = check.name, context.threshold(check)
        self.lengths = array("I")
        self.median = 0.0

    def look(self, time: int, index: int, row: Row) -> Sequence[Flag]:
        if time == 1:
            self.lengths.extend(len(text) for _, text in hers(row))
            return ()
        found = []
        for number, text in hers(row):
            if self.median and len(text) > self.most * self.median:
                times = len(text) / self.median
                found.append(Flag(self.name, f"her turn has {len(text):,} characters, {times:.0f} times her median", round(times, 1), number))
        return found

    def seen(self, time: int) -> None:
        self.median = float(median(self.lengths)) if self.lengths else 0.0


CHECKS = (
    Check(
        "empty-turn", "turns without words", 1, "letters and digits in a turn; fewer are flagged", "a turn without any teaches silence", _EmptyTurn
    ),
    Check(
        "one-sided",
        "conversations in which one side hardly speaks",
        0.003,
        "share of the characters that the quieter side has; up to it",
        "our own: below it a row of 300 words has one word of the other side",
        _OneSided,
    ),
    Check(
        "turn-order", "two turns of one side in a row, a last word that is not hers", 0, "breaks of the order that pass", "chat templates", _TurnOrder
    ),
    Check(
        "speaks-first",
        "rows she begins, where the template has no place for it",
        0,
        "turns of hers before the first of the user",
        "chat templates",
        _SpeaksFirst,
    ),
    Check(
        "too-long",
        "rows that are cut off in training",
        0,
        "tokens with the template; 0: the SFT recipe's length, or the base's context",
        "recipes/sft.toml",
        _TooLong,
    ),
    Check(
        "few-exchanges",
        "rows with few exchanges",
        2,
        "replies of hers in a row; fewer are flagged",
        "role-play sets hold that 4 to 6 exchanges teach to use what was said before; one teaches none of it",
        _Exchanges,
    ),
    Check(
        "many-exchanges",
        "rows with very many exchanges",
        40,
        "replies of hers in a row; more are flagged",
        "our own: ten times the usual size",
        _Exchanges,
    ),
    Check(
        "long-reply",
        "replies far longer than hers are",
        8,
        "times her median length in characters; more are flagged",
        "our own: in a log-normal of people's chat lengths fewer than one in 100",
        _LongReply,
    ),
)
