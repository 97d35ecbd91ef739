"""Pairs as tokens: one prompt, two replies. The same template, tokens and ends of turn as in SFT and in serving.

Only the two replies carry loss, each with the token that ends her turn; a reply that was cut off at the length limit carries none,
for she never said it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from studio.checkpoints.templates import CLOSE, OPEN, Template
from studio.stages import data

Messages = list[dict[str, str]]


class PairTokens(NamedTuple):
    """One pair; both replies follow the same prompt."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def read(self) -> int:
        """Tokens that go through the model: the prompt goes before each reply."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


class PairSplit(data.Half):
    """One half of the pairs (``PairTokens``); what is too long loses the oldest turns of the talk, or more of a reply that was cut off anyway."""

    @property
    def loss_tokens(self) -> int:
        return sum(len(row.chosen) + len(row.rejected) for row in self.rows)


def tokenized(rows: Iterable[Any], tokenizer: Any, template: Template, length: int) -> PairSplit:
    """Preference rows as tokens. A talk too long loses its oldest turns (the system prompt stays); a pair that even then does not fit is
    dropped and counted, since a reply that loses its end teaches her not to end."""
    backend = data.plain_backend(tokenizer)
    forbidden = [*data.control_tokens(tokenizer), OPEN, CLOSE]
    split = PairSplit()
    for row in rows:
        if fault := _fault(row, forbidden):
            split.dropped[fault] += 1
            continue
        prompt: Messages = row["prompt"]
        try:
            pair = _pair(prompt, row, tokenizer, backend, template)
            split.tokens += pair.read
            whole = len(prompt)
            while _longest(pair) > length and (shorter := without_oldest(prompt)):
                prompt = shorter
                pair = _pair(prompt, row, tokenizer, backend, template)
        except data.Refused:
            split.dropped["refused by the base's chat template"] += 1
            continue
        fitting = _cut_further(pair, row.get("cut") or [], length)
        if _longest(fitting) > length or not fitting.chosen or not fitting.rejected:
            split.dropped["longer than length"] += 1
            continue
        split.truncated += len(prompt) < whole or fitting != pair
        pair = fitting
        split.rows.append(pair)
        split.kept_tokens += pair.read
    return split


def without_oldest(prompt: Messages) -> Messages:
    """The talk without its oldest exchange: it still begins with the user, after the system prompt. Empty if only one turn is left."""
    head = prompt[:1] if prompt[0]["role"] == "system" else []
    turns = prompt[len(head) + 1 :]
    while turns and turns[0]["role"] != "user":
        turns = turns[1:]
    return [*head, *turns] if turns else []


def dataset(rows: list[PairTokens]) -> Any:
    """Rows as the ``datasets.Dataset`` TRL's collator reads (1.16)."""
    from datasets import Dataset

    return Dataset.from_dict(
        {"prompt_ids": [row.prompt for row in rows], "chosen_ids": [row.chosen for row in rows], "rejected_ids": [row.rejected for row in rows]}
    )


def _cut_further(pair: PairTokens, cut: list[str], length: int) -> PairTokens:
    """A reply that was cut off already has no end to lose: it is cut where the length ends."""
    room = max(length - len(pair.prompt), 0)
    return pair._replace(**{name: getattr(pair, name)[:room] for name in ("chosen", "rejected") if name in cut})


def _longest(pair: PairTokens) -> int:
    return len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))


def _fault(row: Any, forbidden: list[str]) -> str:
    """Why a pair cannot be trained on, or nothing."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), list) for key in ("prompt", "chosen", "rejected")) or not row["prompt"]:
        return "no prompt, chosen and rejected"
    for key in ("chosen", "rejected"):
        if len(row[key]) != 1 or not isinstance(row[key][0], dict) or row[key][0].get("role") != "assistant":
            return "not one reply"
        if fault := data.fault_of({"messages": [*row["prompt"], *row[key]]}, forbidden):
            return fault
    return "identical replies" if row["chosen"] == row["rejected"] else ""


def _pair(prompt: Messages, row: Any, tokenizer: Any, backend: Any, template: Template) -> PairTokens:
    cut = row.get("cut") or []
    chosen, rejected = (_reply([*prompt, *row[key]], key in cut, tokenizer, backend, template) for key in ("chosen", "rejected"))
    # Where a tokenizer joins the reply's first letters with what stands before it, the prompts differ in their last token.
    shared = 0
    while shared < min(chosen[1], rejected[1]) and chosen[0][shared] == rejected[0][shared]:
        shared += 1
    return PairTokens(chosen[0][:shared], chosen[0][shared:], rejected[0][shared:])


def _reply(messages: Messages, cut: bool, tokenizer: Any, backend: Any, template: Template) -> tuple[list[int], int]:
    """The conversation as tokens up to the end of its last reply, and at which token that reply begins."""
    text, spans = data.render_marked(template, messages, tokenizer)
    begin, end = spans[-1]
    if cut:
        end = begin + len(messages[-1]["content"].strip())
    encoding = backend.encode(text, add_special_tokens=False)
    labels = data.labels_of(text, [(begin, end)], encoding.ids, encoding.offsets)
    counted = [i for i, label in enumerate(labels) if label != data.IGNORED]
    return encoding.ids[: counted[-1] + 1], counted[0]
