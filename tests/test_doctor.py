"""What the doctor says of kernels that are missing: the gain, the command, and what that command wants first."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from studio import doctor


def test_missing_kernels_are_named_with_their_gain_and_what_their_build_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.jobs.lease.gpu", lambda: "GPU-1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(Path, "exists", lambda path: False)
    flash, fla, conv = doctor._kernels()
    assert {each.verdict for each in (flash, fla, conv)} == {"note"}
    assert "ten times as fast" in flash.found and "0.70" in fla.found and conv.mend == "pip install causal-conv1d --no-build-isolation"
    assert "nvcc, which is not here" in flash.found and "nvcc, which is not here" in conv.found and "nvcc" not in fla.found
    monkeypatch.setattr(shutil, "which", lambda name: "/opt/cuda/bin/nvcc")
    assert not [each for each in doctor._kernels() if "nvcc" in each.found]
    monkeypatch.setattr("studio.jobs.lease.gpu", lambda: "")
    assert doctor._kernels() == []
