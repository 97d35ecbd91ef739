"""What the demo offers before it begins."""

import io

import pytest

from studio import demo


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "gpu", lambda: "GPU-1")
    monkeypatch.setattr(demo, "hub_answers", lambda: True)


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "taken"), [("y\n", demo.REAL_BASE), ("\n", ""), ("no\n", "")])
def test_with_a_gpu_and_the_hub_a_real_base_is_offered(monkeypatch: pytest.MonkeyPatch, with_gpu: None, typed: str, taken: str) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(typed))
    monkeypatch.setattr("select.select", lambda *_: ([1], [], []))
    assert demo._offered() == taken


def test_nobody_there_is_a_no_and_without_a_terminal_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, with_gpu: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    monkeypatch.setattr("select.select", lambda *_: ([], [], []))
    assert demo._offered() == ""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert demo._offered() == ""
    assert demo.REAL_BASE in capsys.readouterr().err


def test_without_a_gpu_or_a_hub_nothing_is_offered(monkeypatch: pytest.MonkeyPatch, with_gpu: None) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    monkeypatch.setattr(demo, "hub_answers", lambda: False)
    assert demo._offered() == ""
    monkeypatch.setattr(demo, "hub_answers", lambda: True)
    monkeypatch.setattr(demo, "gpu", lambda: "")
    assert demo._offered() == ""
