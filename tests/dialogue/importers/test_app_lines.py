"""Exports of Messenger and Instagram are in the language of the account: what the app wrote is told apart where it gives itself away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio.dialogue import store
from studio.dialogue.adding import add
from studio.dialogue.importers.base import ImportReport
from studio.persona.folder import Persona


def written(folder: Path, messages: list[dict[str, Any]]) -> Path:
    """An export of these messages, oldest first, as the service writes it: newest first, UTF-8 as latin-1."""
    start = 1_749_841_200_000
    for number, message in enumerate(messages):
        message["timestamp_ms"] = start + 10_000 * number
        for key in ("sender_name", "content"):
            message[key] = message[key].encode().decode("latin-1")
    path = folder / "inbox" / "mira_9" / "message_1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"participants": [], "messages": messages[::-1], "title": "Mira", "thread_path": "inbox/mira_9"}), encoding="utf-8")
    return path


def talk(*lines: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"sender_name": name, "content": text} for name, text in lines]


def said(mira: Persona) -> list[str]:
    return [message.content for row in store.rows(mira) for message in row.messages]


def unsorted(report: ImportReport) -> int:
    return sum(number for what, number in report.changed.items() if "no line of the app recognised" in what)


@pytest.mark.parametrize(
    "line",
    [
        "Mira hat einen Anhang gesendet.",
        "A aimé un message",
        "A réagi 😂 à votre message",
        'Ha messo "Mi piace" a un messaggio',
        "Curtiu uma mensagem",
    ],
)
def test_lines_whose_words_are_known_are_left_out(mira: Persona, tmp_path: Path, line: str) -> None:
    path = written(tmp_path, talk(("Tom", "Is the lamp on?"), ("Mira", line), ("Mira", "It is on.")))
    report = add(mira, [path])
    assert report.dropped == {"system line": 1}
    assert said(mira) == ["Is the lamp on?", "It is on."]
    assert not unsorted(report)


REACTED = [("Tom", f"A következővel reagált: {emoji} az üzenetedre") for emoji in ("😂", "❤️", "😮")]


def test_reactions_in_a_language_nobody_listed_are_told_by_the_reactions_there_are(mira: Persona, tmp_path: Path) -> None:
    messages = talk(("Tom", "Ég a lámpa?"), ("Mira", "Ég 😂 mint mindig."), *REACTED, ("Tom", "Jó."), ("Mira", "Jó 😘 éjt 😘 neked."))
    for number, emoji in ((1, "😂"), (5, "❤"), (6, "😮")):
        messages[number]["reactions"] = [{"reaction": emoji.encode().decode("latin-1"), "actor": "Tom"}]
    report = add(mira, [written(tmp_path, messages)])
    assert report.dropped == {"system line": 3}
    assert [fault.what for fault in report.faults if "tells a reaction" in fault.what]
    assert said(mira) == ["Ég a lámpa?", "Ég 😂 mint mindig.", "Jó.", "Jó 😘 éjt 😘 neked."]
    assert not unsorted(report)


def test_what_lovers_write_again_and_again_is_theirs(mira: Persona, tmp_path: Path) -> None:
    path = written(tmp_path, talk(*REACTED, ("Mira", "Ég a lámpa."), ("Tom", "Jó."), ("Mira", "Jó.")))
    report = add(mira, [path])
    assert not report.dropped
    assert report.changed["kept, though it may be a line of the app: the same words come again around other emoji"] == 3


def test_what_is_shared_under_the_senders_own_name_is_the_apps_in_any_language(mira: Persona, tmp_path: Path) -> None:
    messages = talk(("Tom", "Ég a lámpa?"), ("Mira", "Mira küldött egy mellékletet."), ("Mira", "Nézd: https://example.org"), ("Mira", "Ég."))
    for message in messages[1:3]:
        message["share"] = {"link": "https://example.org"}
    report = add(mira, [written(tmp_path, messages)])
    assert report.dropped == {"system line": 1}
    assert said(mira) == ["Ég a lámpa?", "Nézd: https://example.org\nÉg."]


def test_what_cannot_be_told_is_kept_and_said(mira: Persona, tmp_path: Path) -> None:
    path = written(tmp_path, talk(("Tom", "Ég a lámpa?"), ("Mira", "Mira elnevezte a csoportot"), ("Mira", "Ég.")))
    report = add(mira, [path])
    assert not report.dropped
    assert report.used == 3
    assert unsorted(report) == 3
    assert report.changed["kept, though it may be a line of the app: it begins with its sender's name"] == 1
