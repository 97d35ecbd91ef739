"""Probes in training: at every evaluation the fixed prompts are answered by the model as it is, and a few lines are looked at closely.

What it costs is bounded by the recipe (``probes``, ``probe_tokens``): so many open probes are answered, four times as many cloze
questions scored, so many seen and unseen lines read once. Everything is greedy, so that the same weights say the same; the random
streams and the gradients of the training are not touched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import log_softmax

from studio.checkpoints.templates import Template, stop_tokens
from studio.errors import StudioError
from studio.files import write_atomic
from studio.jobs.runs import Run
from studio.recipes.schema import Training
from studio.review.probes import Probe, read_probes
from studio.stages.data import IGNORED, Row, plain_backend
from studio.stages.story import Story
from studio.text import one_line

CLOZES = 4
"""Cloze questions asked for each open probe that is: they cost a short reading each."""
LINE_TOKENS = 256
"""Tokens of a seen or unseen line that are read."""
RECITED_TOKENS = 24
"""A line counts as recited as far as its first tokens are the very ones she would have said; so many are looked at."""
CONTEXT_TOKENS = 32
"""Lore: tokens of a text that are given before one looks whether she knows how it goes on."""
GRAM = 8
"""Tokens in a row that count as taken from the material word for word."""
MOST_GRAMS = 4_000_000


class Question(NamedTuple):
    probe: Probe
    prompt: list[int]
    answers: list[list[int]]
    """Tokens of the right answer, then of the wrong ones."""


class Line(NamedTuple):
    """A row of the material with the part of it that is looked at."""

    input_ids: list[int]
    first: int
    """Position of the first token that is looked at; never 0."""


class Probing:
    """What is put to the model at each evaluation. Holds tokens only, never the model."""

    def __init__(
        self, open_: list[Question], cloze: list[Question], seen: list[Line], unseen: list[Line], known: Any, settings: dict[str, Any]
    ) -> None:
        self.open, self.cloze, self.seen, self.unseen, self.known = open_, cloze, seen, unseen, known
        self.tokenizer, self.stops, self.tokens, self.answered, self.one_by_one = (
            settings[key] for key in ("tokenizer", "stops", "tokens", "answered", "one_by_one")
        )

    @torch.no_grad()
    def put(self, model: Any) -> dict[str, Any]:
        """Everything, once, for the ``probes`` event. The model is in evaluation mode."""
        began = time.monotonic()
        replies = self._replies(model)
        cloze = [self._scored(model, question) for question in self.cloze]
        seen, unseen = ([look(model, line) for line in lines] for lines in (self.seen, self.unseen))
        found: dict[str, Any] = {"mode": "answered" if self.answered else "continued", "replies": replies, "cloze": cloze}
        if replies:
            found["overlap"] = mean([reply["overlap"] for reply in replies])
        if cloze:
            found |= {
                "accuracy": mean([float(question["right"]) for question in cloze]),
                "asked": len(cloze),
                "chance": mean([1 / len(question["scores"]) for question in cloze]),
            }
        if seen or unseen:
            halves = {"train": seen, "val": unseen}
            found["surprise"] = {
                half: sum(look.nats for look in looks) / sum(look.tokens for look in looks) for half, looks in halves.items() if looks
            }
            found["recited"] = {half: mean([look.recited for look in looks]) for half, looks in halves.items() if looks}
            found["lines"] = [
                {"text": self._text(line), "nats": round(look.nats / look.tokens, 4), "recited": round(look.recited, 3)}
                for line, look in zip(self.unseen, unseen, strict=True)
            ]
        return found | {"seconds": round(time.monotonic() - began, 3)}

    def _text(self, line: Line) -> str:
        return one_line(self.tokenizer.decode(line.input_ids[line.first :], skip_special_tokens=True))[:160]

    def _replies(self, model: Any) -> list[dict[str, Any]]:
        from transformers import GenerationConfig

        if not self.open:
            return []
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.stops[-1]
        # Said in full: what is left open is filled from the base's own generation_config.json.
        plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 50, "repetition_penalty": 1.0}
        settings = GenerationConfig(do_sample=False, max_new_tokens=self.tokens, eos_token_id=self.stops, pad_token_id=pad, use_cache=True, **plain)
        # A hybrid's state reads padding: there each prompt goes alone.
        groups = [[question] for question in self.open] if self.one_by_one else [self.open]
        found = []
        for group in groups:
            longest = max(len(question.prompt) for question in group)
            ids = torch.tensor([[pad] * (longest - len(q.prompt)) + q.prompt for q in group], device=model.device)
            mask = torch.tensor([[0] * (longest - len(q.prompt)) + [1] * len(q.prompt) for q in group], device=model.device)
            said = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)[:, longest:].tolist()
            for question, tokens in zip(group, said, strict=True):
                end = next((at for at, token in enumerate(tokens) if token in self.stops), None)
                kept = tokens[:end]
                found.append(
                    {
                        "id": question.probe.id,
                        "prompt": question.probe.prompt,
                        "reply": self.tokenizer.decode(kept, skip_special_tokens=True).strip(),
                        "finish": "length" if end is None else "stop",
                        "tokens": len(kept),
                        "overlap": taken(kept, self.known),
                    }
                )
        return found

    def _scored(self, model: Any, question: Question) -> dict[str, Any]:
        """Log-probability per character of each answer; she is right if the right one's is the highest."""
        scores = []
        for text, tokens in zip((question.probe.answer, *question.probe.wrong), question.answers, strict=True):
            ids = [*question.prompt, *tokens]
            scores.append(-look(model, Line(ids, len(question.prompt))).nats / max(1, len(text)))
        return {
            "id": question.probe.id,
            "prompt": question.probe.prompt,
            "answer": question.probe.answer,
            "right": scores[0] > max(scores[1:]),
            "scores": [round(score, 4) for score in scores],
        }


class Look(NamedTuple):
    """What the model made of a line."""

    nats: float
    """Minus the log-probability of all tokens looked at."""
    tokens: int
    recited: float
    """Share of the first ``RECITED_TOKENS`` of them that she would have said herself, word for word from the first on."""


def look(model: Any, line: Line) -> Look:
    """Read a line once. Exactly what greedy writing would have copied is known from the likeliest token at each place."""
    ids = torch.tensor([line.input_ids], device=model.device)
    places = torch.arange(line.first - 1, len(line.input_ids) - 1, device=model.device)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0]
    targets = ids[0, line.first :]
    nats = 0.0
    for some, right in zip(logits.split(32), targets.split(32), strict=True):  # a large vocabulary in float32 is no small thing
        nats -= float(log_softmax(some.float(), -1).gather(-1, right[:, None]).double().sum())
    same = (logits[:RECITED_TOKENS].argmax(-1) == targets[:RECITED_TOKENS]).long()
    return Look(nats, len(targets), float(same.cumprod(0).sum()) / len(same))


def prepare_probing(
    run: Run, recipe: Training, tokenizer: Any, template: Template | None, halves: tuple[Sequence[Row], Sequence[Row]], hybrid: bool, story: Story
) -> Probing | None:
    """What is put to the model in this run; None if the recipe wants nothing. ``template``: how a prompt becomes a turn; None: prompts are
    texts to be continued, as in CPT. ``halves``: the rows learned from and those held out."""
    if not recipe.probes:
        return None
    backend = plain_backend(tokenizer)

    def tokens(text: str) -> list[int]:
        return list(backend.encode(text, add_special_tokens=False).ids)

    def opened(prompt: str) -> list[int]:
        if template is None:
            first = backend.encode("a").ids[0]
            return [*([first] if first == tokenizer.bos_token_id else []), *tokens(prompt.rstrip())]
        system = run.inputs.system_prompt
        messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": prompt}]
        return tokens(str(tokenizer.apply_chat_template(messages, chat_template=template.text, tokenize=False, add_generation_prompt=True)))

    def question(probe: Probe) -> Question:
        space = " " if template is None and probe.prompt[-1:].isascii() else ""
        return Question(probe, opened(probe.prompt), [tokens(space + answer) for answer in (probe.answer, *probe.wrong) if probe.answer])

    asked = frozen_probes(run, story)
    opens = [question(probe) for probe in asked if probe.kind == "open"][: recipe.probes]
    clozes = [question(probe) for probe in asked if probe.kind == "cloze"][: CLOZES * recipe.probes]
    seen, unseen = (spread([line for row in rows if (line := line_of(row, template is None))], recipe.probes) for rows in halves)
    stops = [tokenizer.convert_tokens_to_ids(token) for token in stop_tokens(template)] if template else [tokenizer.eos_token_id]
    settings = {"tokenizer": tokenizer, "stops": stops, "tokens": recipe.probe_tokens, "answered": template is not None, "one_by_one": hybrid}
    if not (opens or clozes or seen or unseen):
        return None
    return Probing(opens, clozes, seen, unseen, grams_of(halves[0]) if opens else None, settings)


def frozen_probes(run: Run, story: Story) -> list[Probe]:
    """The persona's probes as they were when the run began: it keeps a copy, so that all its evaluations ask the same."""
    kept, own = run.path / "probes.jsonl", Path(run.inputs.persona) / "probes.jsonl"
    try:
        if not kept.is_file() and own.is_file():
            read_probes(own)
            write_atomic(kept, own.read_text(encoding="utf-8"))
        return read_probes(kept) if kept.is_file() else []
    except (StudioError, OSError, UnicodeDecodeError) as error:
        story.warning(f"No probes are put in this run: {error}")
        return []


def line_of(row: Row, continued: bool) -> Line | None:
    """Where one looks in a row: lore after its first tokens, dialogue at her last reply that is whole. None for one that is too short."""
    ids, labels = row
    if continued:
        ids = ids[: CONTEXT_TOKENS + LINE_TOKENS // 2]
        first = min(CONTEXT_TOKENS, len(ids) // 2)
    else:
        last = next((at for at in range(len(labels) - 1, 0, -1) if labels[at] != IGNORED), 0)
        first = next((at + 1 for at in range(last, 0, -1) if labels[at] == IGNORED), 1)
        cut = max(0, min(first - 1, last + 1 - LINE_TOKENS))
        ids, first = ids[cut : last + 1][:LINE_TOKENS], first - cut
    return Line(list(ids), first) if first > 0 and len(ids) - first >= 4 else None


def spread(lines: list[Line], number: int) -> list[Line]:
    """So many of them, evenly over the material."""
    return [lines[at * len(lines) // number] for at in range(number)] if len(lines) > number else lines


def grams(tokens: Sequence[int]) -> Any:
    """A number for each run of ``GRAM`` tokens."""
    ids = np.asarray(tokens, dtype=np.uint64)
    if len(ids) < GRAM:
        return np.empty(0, dtype=np.uint64)
    found = np.zeros(len(ids) - GRAM + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for at in range(GRAM):
            found = found * np.uint64(0x9E3779B97F4A7C15) + ids[at : at + len(found)] + np.uint64(1)
    return found


def grams_of(rows: Sequence[Row]) -> Any:
    """The runs of tokens she learns from, sorted; of very much material the first ``MOST_GRAMS``."""
    found, total = [], 0
    for row in rows:
        found.append(grams([token for token, label in zip(*row, strict=True) if label != IGNORED]))
        total += len(found[-1])
        if total > MOST_GRAMS:
            break
    return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.uint64)


def taken(tokens: Sequence[int], known: Any) -> float:
    """Share of the runs of tokens in a reply that stand in the material just so."""
    said = grams(tokens)
    return float(np.isin(said, known).mean()) if len(said) else 0.0


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
