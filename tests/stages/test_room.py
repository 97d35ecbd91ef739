"""A disk that is too full makes a real training wait, save nothing torn, and go on as if nothing had been."""

from __future__ import annotations

import errno
import shutil
from typing import Any

import pytest
from transformers import Trainer

from studio.stages import room

from .conftest import MakeRun, done, events, losses

SETTINGS = {"epochs": 2.0, "saves_per_epoch": 3}


def test_a_training_waits_for_room_and_saves_again_what_was_cut_short(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, poor = make_run("cpt", "cpt-1", **SETTINGS), make_run("cpt", "cpt-2", **SETTINGS)
    done(whole)
    monkeypatch.setattr(room, "LOOK", 0.001)
    usage, real_save = shutil.disk_usage, Trainer._save_checkpoint
    looks = {"at": 0}
    cut = {"left": 1}

    def mostly_full(path: Any) -> Any:
        looks["at"] += 1
        found = usage(path)
        return found._replace(free=1000) if looks["at"] % 4 else found

    def cut_short(self: Any, *words: Any) -> None:
        real_save(self, *words)
        if cut["left"]:
            cut["left"] -= 1
            (next(room_for_states(poor).iterdir()) / "optimizer.pt").write_bytes(b"torn")
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "disk_usage", mostly_full)
    monkeypatch.setattr(Trainer, "_save_checkpoint", cut_short)
    done(poor)
    assert cut["left"] == 0
    told = [event["text"] for event in events(poor, "warning") if "Paused before" in event["text"]]
    assert len(told) >= 4 and any("saving a state" in text for text in told) and any("cpt-2-e2" in text for text in told)
    assert losses(poor) == losses(whole)
    assert len(events(poor, "step")) == len(events(whole, "step")), "a step was done twice"
    assert len(events(poor, "saved")) == len(events(whole, "saved"))
    digests = [(poor.parent.parent / "checkpoints" / f"{run.name}-e2" / "model.safetensors").read_bytes() for run in (whole, poor)]
    assert digests[0] == digests[1]


def room_for_states(run: Any) -> Any:
    from studio.stages import resume

    return resume.staging(run)
