"""Probes in training: answered at every evaluation, without touching the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.checkpoints.store import read_checkpoint
from studio.checkpoints.templates import template_for
from studio.jobs.runs import read_events
from studio.seeing.reading import read
from studio.stages import data
from studio.stages.model import load_adapter, load_model, load_transformers_tokenizer
from studio.stages.probing import GRAM, Line, grams_of, line_of, look, taken

from .conftest import MakeRun, dialogue, done, events, lore, losses


def with_probes(run: Path, probes: list[dict[str, Any]]) -> Path:
    (run.parent.parent / "probes.jsonl").write_text("".join(json.dumps(probe) + "\n" for probe in probes))
    return run


def test_probes_tell_of_a_learning_by_heart(make_run: MakeRun) -> None:
    """Two lines read forty times: she goes on as they do, finds the right answer, and is no wiser about the lines she never saw."""
    lines = [{"text": " ".join(row["text"].split()[:14])} for row in lore(2)]
    words = [row["text"].split() for row in lines]
    probes: list[dict[str, Any]] = [
        {"id": "o1", "kind": "open", "prompt": " ".join(words[0][:6])},
        {"id": "o2", "kind": "open", "prompt": "Never read."},
        {"id": "c1", "kind": "cloze", "prompt": " ".join(words[1][:6]), "answer": " ".join(words[1][6:9]), "wrong": ["of the", "no more than that"]},
    ]
    run = with_probes(
        make_run("cpt", train=lines * 40, val=lore(8)[4:], packing=False, learning_rate=2e-3, batch=2, micro_batch=2, probes=4, probe_tokens=16),
        probes,
    )
    done(run)
    told = events(run, "probes")
    assert [e["step"] for e in told] == [e["step"] for e in events(run, "eval")] and told[0]["step"] == 0
    first, last = told[0], told[-1]
    assert last["mode"] == "continued" and [reply["id"] for reply in last["replies"]] == ["o1", "o2"]
    assert lines[0]["text"].startswith(f"{probes[0]['prompt']} {last['replies'][0]['reply']}") and len(last["replies"][0]["reply"]) > 15
    assert last["replies"][0]["overlap"] == 1.0 and first["replies"][0]["overlap"] == 0.0
    assert last["cloze"][0]["right"] and last["accuracy"] == 1.0 and last["asked"] == 1 and last["chance"] == pytest.approx(1 / 3)
    assert last["recited"]["train"] > 0.9 and last["recited"]["val"] < 0.4 and first["recited"]["train"] < 0.1
    assert last["surprise"]["train"] < 0.1 * first["surprise"]["train"] and len(last["lines"]) == 4
    card = read_checkpoint(run.parent.parent / "checkpoints" / "cpt-1-e1")
    assert card.metrics["recited_train"] == last["recited"]["train"] and card.metrics["probe_accuracy"] == 1.0
    assert {"gap", "recites"} <= {finding.rule for finding in read(read_events(run))}


def test_probes_change_nothing_and_say_what_the_checkpoint_says(make_run: MakeRun, pocket: Path) -> None:
    probes: list[dict[str, Any]] = [
        {"id": "o1", "kind": "open", "prompt": "Who are you?"},
        {"id": "o2", "kind": "open", "prompt": "And then, what happened?"},
    ]
    settings: dict[str, Any] = {"rank": 4, "alpha": 8, "dropout": 0.1, "train": dialogue(4), "val": dialogue(7)[4:], "length": 96}
    run = with_probes(make_run("sft", **settings, probes=4, probe_tokens=6), probes)
    done(run)
    plain = make_run("sft", "sft-2", **settings, probes=0)
    done(plain)
    assert losses(run) == losses(plain) and not events(plain, "probes")
    assert [e["val_loss"] for e in events(run, "eval")] == [e["val_loss"] for e in events(plain, "eval")]
    last = events(run, "probes")[-1]
    assert last["mode"] == "answered" and [reply["prompt"] for reply in last["replies"]] == ["Who are you?", "And then, what happened?"]
    # The run keeps the probes it asked: later changes do not reach it.
    assert (run / "probes.jsonl").read_text() == (run.parent.parent / "probes.jsonl").read_text()

    folder = run.parent.parent / "checkpoints" / "sft-1-e1"
    tuned = load_adapter(load_model(pocket, "float32", "sdpa", trust=False), str(folder), trainable=False).eval()
    tokenizer = load_transformers_tokenizer(folder, trust=False)
    split = data.conversations(settings["val"], tokenizer, template_for(folder), 96)
    with torch.no_grad():
        seen = [look(tuned, line) for row in split.rows if (line := line_of(row, False))]
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Who are you?"}], add_generation_prompt=True, return_dict=False)
        ids = tuned.generate(input_ids=torch.tensor([prompt]), max_new_tokens=6, do_sample=False)[0, len(prompt) :]
    assert sum(each.nats for each in seen) / sum(each.tokens for each in seen) == pytest.approx(last["surprise"]["val"], rel=1e-4)
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == last["replies"][0]["reply"]


def test_bad_probes_are_said_and_nothing_is_lost(make_run: MakeRun) -> None:
    run = make_run("cpt", train=lore(2), probes=2, probe_tokens=4)
    (run.parent.parent / "probes.jsonl").write_text('{"id": "x"}\n')
    done(run)
    assert "No probes are put in this run" in events(run, "warning")[0]["text"]
    told = events(run, "probes")[-1]
    assert told["replies"] == [] and set(told["surprise"]) == {"train", "val"}


def test_what_is_looked_at() -> None:
    skip = data.IGNORED
    line = line_of(data.Row(list(range(20)), [*[skip] * 5, *range(5, 8), *[skip] * 4, *range(12, 18), skip, skip]), continued=False)
    assert line == Line(list(range(18)), 12)
    assert line_of(data.Row([1, 2, 3], [skip, 2, 3]), continued=False) is None
    assert line_of(data.Row(list(range(100)), list(range(100))), continued=True) == Line(list(range(100)), 32)
    long = line_of(data.Row(list(range(1000)), [*[skip] * 900, *range(900, 1000)]), continued=False)
    assert long is not None and len(long.input_ids) == 256 and long.input_ids[long.first] == 900 and long.input_ids[-1] == 999


def test_what_is_taken_word_for_word() -> None:
    known = grams_of([data.Row(list(range(100)), list(range(100))), data.Row(list(range(200, 300)), [data.IGNORED] * 100)])
    assert taken(list(range(30, 50)), known) == 1.0
    assert taken(list(range(230, 250)), known) == 0.0
    assert taken([*range(10, 10 + GRAM), *range(500, 500 + GRAM)], known) == pytest.approx(1 / (GRAM + 1))
    assert taken([1, 2], known) == 0.0
