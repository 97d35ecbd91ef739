"""Is she still herself? The measuring: what one model expects of her held-out turns, then another one against it.

Only one of the two is in memory at a time. Of the first the log-probabilities are kept in half precision: at 16 to 32 nats below
certainty that is a step of 0.016, at the tokens that matter less than 0.0005.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from studio.checkpoints.base import ENGLISH
from studio.checkpoints.herself import LENGTH, Comparison, Reply, listened_to, verdict, write_comparison
from studio.checkpoints.store import Checkpoint, add_metrics, get_checkpoint, weights_root
from studio.checkpoints.templates import render, stop_tokens, template_for
from studio.errors import StudioError
from studio.home import available_memory, bf16_instructions
from studio.jobs.runs import Run
from studio.persona.folder import Persona, open_persona
from studio.recipes.schema import Herself
from studio.review.probes import Probe, load_probes, opening
from studio.stages import data
from studio.stages import model as models
from studio.stages.story import Story, peak_memory

HEADROOM = 1.3
"""GPU memory wanted for a model, in its own size."""


class Text(NamedTuple):
    """A text and where in it is measured: the token after each position is one of hers."""

    ids: list[int]
    positions: list[int]


class Asked(NamedTuple):
    """Everything that is put to both models."""

    texts: list[Text]
    prompts: list[tuple[str, list[int]]]
    """What she answers to, in words and as the model reads it."""
    clozes: list[tuple[list[int], list[tuple[list[int], int]]]]
    """A prompt and its answers, the right one first, each with its number of characters."""
    stops: list[int]
    material: str


class Seen(NamedTuple):
    """What one model made of it."""

    expected: list[torch.Tensor]
    """Log-probabilities at the positions of each text, half precision."""
    surprise: list[float]
    """Minus the log-probability of each of her tokens."""
    replies: list[list[int]]
    right: list[bool]


def asked_of(data_folder: str, speech: Path, persona: Persona | None, tokenizer: Any, vocabulary: int, wanted: Herself) -> Asked:
    """What to ask: validation rows of the snapshot in ``data_folder`` and the persona's probes; without rows a passage of English."""
    template = template_for(speech)
    backend = data.plain_backend(tokenizer)
    left = listened_to(wanted.tokens, vocabulary)
    texts: list[Text] = []
    prompts: list[tuple[str, list[int]]] = []
    rows = data.read_rows(data_folder, "val") if data_folder and (Path(data_folder) / "val.jsonl").is_file() else []

    def encoded(text: str) -> list[int]:
        return list(backend.encode(text, add_special_tokens=False).ids)

    for row in data.conversations(rows, tokenizer, template, length=LENGTH).rows if rows else ():
        positions = [i for i, label in enumerate(row.labels[1:]) if label != data.IGNORED][:left]
        left -= len(positions)
        if positions:
            texts.append(Text(row.input_ids[: positions[-1] + 2], positions))
        if left < 16:
            break
    material = "her turns in held-out dialogue" if texts else "a passage of English, as there is no held-out dialogue"
    if not texts:
        ids = tokenizer(ENGLISH)["input_ids"]
        texts = [Text(ids, list(range(len(ids) - 1)))]
    probes = _probes(persona)
    for messages in [_first_turns(row["messages"]) for row in rows] or [opening(persona, p.prompt) for p in probes if p.kind == "open" and persona]:
        if messages and len(prompts) < wanted.replies:
            prompts.append((messages[-1]["content"], encoded(render(template, messages, add_generation_prompt=True))[-LENGTH:]))
    clozes = []
    for probe in [p for p in probes if p.kind == "cloze"][: wanted.questions]:
        assert persona is not None
        prompt = encoded(render(template, opening(persona, probe.prompt), add_generation_prompt=True))
        clozes.append((prompt, [(encoded(answer), len(answer)) for answer in (probe.answer, *probe.wrong)]))
    stops = [number for token in stop_tokens(template) if (number := tokenizer.convert_tokens_to_ids(token)) is not None]
    return Asked(texts, prompts, clozes, stops, material)


def _probes(persona: Persona | None) -> list[Probe]:
    try:
        return load_probes(persona) if persona else []
    except StudioError:
        return []


def _first_turns(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """A conversation up to her first reply."""
    until = next((i for i, message in enumerate(messages) if message["role"] == "assistant"), 0)
    return messages[:until]


def persona_of(run: Run) -> Persona | None:
    try:
        return open_persona(Path(run.inputs.persona))
    except StudioError:
        return None


def log_probabilities(model: Any, ids: Sequence[int], positions: Sequence[int] | None = None) -> torch.Tensor:
    """What the model expects after each token (or after those at ``positions``): log-probabilities, float32, on the CPU."""
    return _read(model, ids, range(len(ids)) if positions is None else positions)[0]


def _read(model: Any, ids: Sequence[int], positions: Sequence[int], past: Any = None, keep: bool = False) -> tuple[torch.Tensor, Any]:
    """Log-probabilities after the tokens at ``positions``, and with ``keep`` what the model remembers. Only there is the head at work: of a
    small model with many words it is most of the arithmetic."""
    kept = torch.tensor(list(positions), device=model.device)
    only = {"logits_to_keep": kept} if "logits_to_keep" in signature(model.forward).parameters else {}
    with torch.no_grad():
        out = model.eval()(input_ids=torch.tensor([list(ids)], device=model.device), past_key_values=past, use_cache=keep, **only)
        logits = out.logits[0] if only else out.logits[0, kept]
        return torch.log_softmax(logits.float(), dim=-1).cpu(), out.past_key_values if keep else None


@contextmanager
def listening(model: Any) -> Iterator[None]:
    """The model where it is quick: on the GPU if there is one and it fits, else on the CPU, in float32 where the processor has no arithmetic
    for bf16 (a long text takes a fifth of the time) and the memory holds it. Afterwards it is on the CPU as it was."""
    widened: list[Any] = []
    if torch.cuda.is_available():
        if _bytes(model) * HEADROOM < torch.cuda.mem_get_info()[0]:
            model.to("cuda")
    elif not bf16_instructions():
        _read(model, [0], [0])  # compressed weights unpack themselves at the first reading
        if _bytes(model) * 2 * HEADROOM < available_memory():
            widened = [p for p in model.parameters() if p.dtype == torch.bfloat16]
    try:
        for parameter in widened:
            parameter.data = parameter.data.float()
        yield
    finally:
        for parameter in widened:
            parameter.data = parameter.data.bfloat16()
        model.to("cpu")


def _bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def look(model: Any, asked: Asked, reply_tokens: int) -> Seen:
    """What a model makes of everything that is asked."""
    expected, surprise = [], []
    for text in asked.texts:
        there = log_probabilities(model, text.ids, text.positions)
        surprise += _surprise(there, text)
        expected.append(there.half())
    return Seen(expected, surprise, _replies(model, asked, reply_tokens), _answers(model, asked))


def compare(before: Seen, model: Any, asked: Asked, tokenizer: Any, reply_tokens: int) -> tuple[dict[str, float], list[Reply]]:
    """Another model against what the first one made of it: the metrics that ``checkpoints.herself.verdict`` reads, and both one's replies."""
    apart: list[torch.Tensor] = []
    agree: list[torch.Tensor] = []
    surprise: list[float] = []
    for text, then in zip(asked.texts, before.expected, strict=True):
        now = log_probabilities(model, text.ids, text.positions)
        first = torch.log_softmax(then.float(), dim=-1)  # sums to one again after its rounding
        apart.append((first.exp() * (first - now)).sum(-1).clamp_min(0.0))
        agree.append(first.argmax(-1) == now.argmax(-1))
        surprise += _surprise(now, text)
    kl, same = torch.cat(apart), torch.cat(agree)
    finite = bool(kl.isfinite().all())
    metrics = {
        "kl": float(kl.mean()) if finite else 1e9,
        "kl_p99": float(kl.quantile(0.99)) if finite else 1e9,
        "top1": float(same.float().mean()),
        "ppl": _perplexity(surprise),
        "parent_ppl": _perplexity(before.surprise),
        "finite": float(finite),
        "checked_tokens": float(len(kl)),
    }
    right = _answers(model, asked)
    if right:
        metrics |= {
            "cloze_asked": float(len(right)),
            "cloze_right": float(sum(right)),
            "parent_cloze_right": float(sum(before.right)),
            "cloze_lost": float(sum(was and not now for was, now in zip(before.right, right, strict=True))),
            "cloze_gained": float(sum(now and not was for was, now in zip(before.right, right, strict=True))),
        }
    replies = []
    for (prompt, _), then_ids, now_ids in zip(asked.prompts, before.replies, _replies(model, asked, reply_tokens), strict=True):
        parts = next((i for i, (a, b) in enumerate(zip(then_ids, now_ids, strict=False)) if a != b), min(len(then_ids), len(now_ids)))
        then_text, now_text = (tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in (then_ids, now_ids))
        replies.append(Reply(prompt, then_text, now_text, parts + 1, then_ids == now_ids))
    if replies:
        metrics |= {
            "replies": float(len(replies)),
            "same_replies": float(sum(reply.same for reply in replies)),
            "parts_at": float(median(reply.parts_at for reply in replies)),
        }
    return metrics, replies


def _surprise(expected: torch.Tensor, text: Text) -> list[float]:
    said = torch.tensor([text.ids[position + 1] for position in text.positions])
    values: list[float] = (-expected.gather(1, said[:, None])[:, 0]).tolist()
    return values


def _perplexity(surprise: list[float]) -> float:
    value = float(torch.tensor(surprise, dtype=torch.float64).mean().exp())
    return value if value == value and value < 1e9 else 1e9


def _replies(model: Any, asked: Asked, reply_tokens: int) -> list[list[int]]:
    """The likeliest token each time, until the reply ends."""
    found = []
    for _, prompt in asked.prompts:
        reply: list[int] = []
        expected, past = _read(model, prompt, [len(prompt) - 1], keep=True)
        while len(reply) < reply_tokens and (token := int(expected[0].argmax())) not in asked.stops:
            reply.append(token)
            expected, past = _read(model, [token], [0], past, keep=True)
        found.append(reply)
    return found


def _answers(model: Any, asked: Asked) -> list[bool]:
    """For each lore question whether the right answer is found likelier, per character, than every wrong one."""
    found = []
    for prompt, answers in asked.clozes:
        scores = []
        first, read = _read(model, prompt, [len(prompt) - 1], keep=True)
        for ids, characters in answers:
            # Token by token: what recurrent layers remember goes on by one, and not by several at once (transformers 5.17).
            expected, past, score = first, copy.deepcopy(read), 0.0
            for number, token in enumerate(ids, 1):
                score += float(expected[0, token])
                if number < len(ids):
                    expected, past = _read(model, [token], [0], past, keep=True)
            scores.append(score / max(1, characters))
        found.append(scores[0] > max(scores[1:]))
    return found


def tell(story: Story, name: str, against: str, metrics: dict[str, float]) -> None:
    """The verdict as an event; a warning where she is not herself."""
    said = verdict(metrics)
    assert said is not None
    story.event("herself", checkpoint=name, against=against, verdict=said.word, why=said.why)
    if said.word == "broken":
        story.warning(f"{name} is broken: {said.why}. Do not serve it.")
    elif said.word == "changed":
        story.warning(f"{name} is not quite {against} any more: {said.why}. Hear both in a blind review before you serve it.")


def herself(run: Run, recipe: Herself, story: Story) -> None:
    """Hold a run's parent checkpoint against another one; what is found stands in its card and in ``herself.json`` beside it."""
    persona = open_persona(Path(run.inputs.persona))
    child, other = get_checkpoint(persona, run.inputs.parent), get_checkpoint(persona, recipe.against)
    trust = run.inputs.trust_remote_code
    story.phase(f"Listening to {other.id}")
    model = _loaded(persona, other, trust)
    tokenizer = models.load_transformers_tokenizer(Path(child.path), trust)
    asked = asked_of(run.inputs.data, Path(other.path), persona, tokenizer, int(model.config.get_text_config().vocab_size), recipe)
    with listening(model):
        before = look(model, asked, recipe.reply_tokens)
    del model
    gc.collect()
    story.phase(f"Listening to {child.id}")
    model = _loaded(persona, child, trust)
    with listening(model):
        metrics, replies = compare(before, model, asked, tokenizer, recipe.reply_tokens)
    tell(story, child.id, other.id, metrics)
    write_comparison(Path(child.path), Comparison(other.id, asked.material, metrics, replies))
    if other.id == child.parent:
        add_metrics(Path(child.path), metrics)
    story.event("memory", peak_bytes=peak_memory())


def _loaded(persona: Persona, checkpoint: Checkpoint, trust: bool) -> Any:
    root = weights_root(persona, checkpoint)
    model = models.load_model(Path(root.path), "bfloat16", "sdpa", trust)
    if checkpoint.kind == "adapter":
        model = models.load_adapter(model, checkpoint.path, trainable=False).merge_and_unload()
    return model
