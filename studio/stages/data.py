"""Rows of text become rows of tokens: what is read, what counts in the loss, and what was left out, to the token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from studio.checkpoints.templates import CLOSE, OPEN, Template, take_marks
from studio.errors import StudioError
from studio.files import read_lines

IGNORED = -100
"""Label of a token that does not count in the loss (PyTorch's cross-entropy default)."""

ROLES = frozenset(("system", "user", "assistant"))


class Row(NamedTuple):
    """One document or conversation as tokens."""

    input_ids: list[int]
    labels: list[int]


class Half(msgspec.Struct):
    """One half of any material, tokenized, and its counts."""

    rows: list[Any] = []
    tokens: int = 0
    """Tokens of all usable rows before anything was left out."""
    kept_tokens: int = 0
    truncated: int = 0
    """Rows that lost something to fit the length."""
    dropped: Counter[str] = msgspec.field(default_factory=Counter)
    """Rows left out, by reason."""

    @property
    def loss_tokens(self) -> int:
        raise NotImplementedError


class Split(Half):
    """One half of the texts or conversations (``Row``); what is too long loses its end."""

    @property
    def loss_tokens(self) -> int:
        return sum(loss_tokens(row.labels) for row in self.rows)


def loss_tokens(labels: list[int]) -> int:
    """Labels that count. The first of a sequence never does: nothing stands before it to predict it from."""
    return sum(label != IGNORED for label in labels[1:])


def read_rows(data: str, half: str) -> list[Any]:
    """The rows of ``train`` or ``val``; StudioError if there are none."""
    path = Path(data) / f"{half}.jsonl"
    if not data or not path.is_file():
        raise StudioError(f"The snapshot has no {half}.jsonl ({path}); build the snapshot again and start a new run.")
    rows = [row for _, row in read_lines(path)]
    if not rows:
        raise StudioError(
            f"{path} has no rows, so there is nothing to {'learn from' if half == 'train' else 'measure with'}; add material and build again."
        )
    return rows


def control_tokens(tokenizer: Any) -> list[str]:
    """Special tokens of a transformers tokenizer, by text: in material they would act instead of being read."""
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def plain_backend(tokenizer: Any) -> Any:
    """A ``tokenizers.Tokenizer`` of our own with the settings of the transformers one."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return backend


def _batches(items: list[Any], size: int = 512) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def documents(rows: Iterable[Any], tokenizer: Any) -> Split:
    """CPT rows ``{"text": …}`` as tokens: all count, the end of a document after each, the start before each if the tokenizer uses one.

    Text that looks like a control token is read as plain text.
    """
    backend = plain_backend(tokenizer)
    first = backend.encode("a").ids[0]
    begin = [first] if first == tokenizer.bos_token_id else []
    backend.encode_special_tokens = True
    split = Split()
    texts = []
    for row in rows:
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str) or not text.strip():
            split.dropped["no text"] += 1
        else:
            texts.append(text)
    for batch in _batches(texts):
        for encoding in backend.encode_batch(batch, add_special_tokens=False):
            ids = [*begin, *encoding.ids, tokenizer.eos_token_id]
            split.rows.append(Row(ids, list(ids)))
            split.tokens += len(ids)
    split.kept_tokens = split.tokens
    return split


def fault_of(row: Any, forbidden: list[str]) -> str:
    """Why a row cannot be trained on, or nothing."""
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        return "no messages"
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return "unknown role"
        content = message.get("content")
        if not isinstance(content, str) or not content.strip():
            return "empty message"
        if any(token in content for token in forbidden):
            return "control token in a message"
    return "" if any(message["role"] == "assistant" for message in messages) else "no reply"


class Refused(Exception):
    """The base's chat template does not take this conversation."""


def render_marked(template: Template, messages: list[dict[str, str]], tokenizer: Any) -> tuple[str, list[tuple[int, int]]]:
    """The conversation as one text and where in it the loss counts: each reply and the end-of-turn token after it.

    Raises Refused if the template does not take the conversation, StudioError if it changes replies, so that they cannot be found.
    """

    def rendered(chat: list[dict[str, str]]) -> str:
        try:
            return str(tokenizer.apply_chat_template(chat, chat_template=template.text, tokenize=False))
        except Exception as error:  # a foreign template is a program: it may raise anything
            raise Refused from error

    plain = [{"role": message["role"], "content": message["content"].strip()} for message in messages]
    marked = [message | {"content": OPEN + message["content"] + CLOSE} if message["role"] == "assistant" else message for message in plain]
    text, spans = take_marks(rendered(marked), template.end_of_turn)
    replies = sum(message["role"] == "assistant" for message in plain)
    if len(spans) != replies or text != rendered(plain):
        raise StudioError(
            "The base's own chat template changes replies while rendering them, so it cannot be trained with; give the base a simpler one."
        )
    return text, spans


def conversations(rows: Iterable[Any], tokenizer: Any, template: Template, length: int) -> Split:
    """SFT rows ``{"messages": […]}`` as tokens: only the character's replies and the end of each of her turns count.

    Rows longer than ``length`` are cut at the end and counted; rows in which nothing is left to learn are dropped and counted.
    """
    backend = plain_backend(tokenizer)
    forbidden = [*control_tokens(tokenizer), OPEN, CLOSE]
    split = Split()
    texts: list[tuple[str, list[tuple[int, int]]]] = []
    for row in rows:
        if fault := fault_of(row, forbidden):
            split.dropped[fault] += 1
            continue
        try:
            texts.append(render_marked(template, row["messages"], tokenizer))
        except Refused:
            split.dropped["refused by the base's chat template"] += 1
    for batch in _batches(texts):
        encodings = backend.encode_batch([text for text, _ in batch], add_special_tokens=False)
        for (text, spans), encoding in zip(batch, encodings, strict=True):
            labels = labels_of(text, spans, encoding.ids, encoding.offsets)
            split.tokens += len(labels)
            if loss_tokens(labels[:length]) == 0:
                split.dropped["no reply within the length"] += 1
                continue
            split.truncated += len(labels) > length
            split.rows.append(Row(encoding.ids[:length], labels[:length]))
            split.kept_tokens += len(split.rows[-1].input_ids)
    return split


def labels_of(text: str, spans: list[tuple[int, int]], ids: list[int], offsets: list[tuple[int, int]]) -> list[int]:
    """The token itself where it lies in a span, else IGNORED. White space before a reply may share the reply's first token."""
    labels = []
    remaining = iter(spans)
    begin, end = next(remaining, (len(text) + 1, len(text) + 1))
    for token, (start, stop) in zip(ids, offsets, strict=True):
        while start >= end:
            begin, end = next(remaining, (len(text) + 1, len(text) + 1))
        inside = stop > begin and stop <= end and stop > start and (start >= begin or not text[start:begin].strip())
        labels.append(token if inside else IGNORED)
    return labels


def batches(rows: list[Row], length: int, packing: bool, split_long: bool) -> Any:
    """Rows as the ``datasets.Dataset`` the trainer reads: columns ``input_ids``, ``labels`` and, packed, ``seq_lengths``.

    ``split_long`` cuts longer rows into pieces of at most ``length`` (CPT: nothing is lost); without it no row may be longer.
    Raises StudioError if packing lost a token.
    """
    from datasets import Dataset
    from trl import pack_dataset

    if split_long and not packing:
        rows = [
            Row(row.input_ids[start : start + length], row.labels[start : start + length])
            for row in rows
            for start in range(0, len(row.input_ids), length)
        ]
    dataset = Dataset.from_dict({"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]})
    if not packing:
        return dataset
    # TRL's "bfd" cuts what is longer than a sequence without a word; "bfd_split" carries it over (1.16).
    packed = pack_dataset(dataset, length, "bfd_split" if split_long else "bfd")
    before, after = sum(len(row.input_ids) for row in rows), sum(map(sum, packed["seq_lengths"]))
    if before != after:
        raise StudioError(f"Packing kept {after:,} of {before:,} tokens; nothing was trained. Set packing=false and report this.")
    return packed


def require_rows(split: Half, half: str) -> None:
    """StudioError if nothing of a half is left to use, with the reasons."""
    if not split.rows:
        reasons = ", ".join(f"{reason}: {number}" for reason, number in split.dropped.most_common())
        raise StudioError(f"No row of {half}.jsonl can be used ({reasons}); mend the material and build the snapshot again.")


def facts(train: Half, val: Half) -> dict[str, Any]:
    """For the ``data`` event: the training half's counts, and how many rows there are to measure with."""
    return {
        "train_rows": len(train.rows),
        "val_rows": len(val.rows),
        "tokens": train.tokens,
        "kept_tokens": train.kept_tokens,
        "loss_tokens": train.loss_tokens,
        "truncated": train.truncated,
        "dropped": dict(train.dropped),
        "val_dropped": dict(val.dropped),
    }
