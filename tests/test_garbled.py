"""Text that was once read wrongly is repaired where that is proved, and nothing else is touched."""

from __future__ import annotations

import ftfy.bad_codecs  # noqa: F401  registers sloppy-windows-1252
import pytest

from studio.garbled import repaired


@pytest.mark.parametrize("said", ["It’s “fat”, she said…", "Köszönöm, Wenő", "先进我的门。", "Три ключа"])
@pytest.mark.parametrize("misread", ["sloppy-windows-1252", "latin-1"])
def test_what_was_read_wrongly_becomes_what_it_was(said: str, misread: str) -> None:
    assert repaired(f"plain\n{said.encode().decode(misread)}\n{said}") == f"plain\n{said}\n{said}"


@pytest.mark.parametrize("said", ["", "plain", "先进我的门，我这扇白天不锁。", "Ã la carte", "It’s café — naïve", "lost â€\ufffd here", "Привет"])
def test_what_is_whole_or_cannot_be_proved_stays(said: str) -> None:
    assert repaired(said) == said
