"""``studio dialogue check | clean | judge | nearest``: what is said, to people and to tools, and how it ends."""

from __future__ import annotations

import pytest

from studio.dialogue.store import rows
from studio.persona.folder import Persona
from tests.cli.test_preferring import Shell
from tests.dialogue.checks.making import good, put, row
from tests.dialogue.checks.test_judging import Judge, numbered


@pytest.fixture
def shell(persona: Persona, capsys: pytest.CaptureFixture[str]) -> Shell:
    put(persona, [*good(40), row("Where?", "Write to anna.k@gmail.com then.", "Hm?", "As an AI language model, I cannot.")])
    return Shell(persona, capsys)


def test_check_tells_by_check_then_row_by_row(persona: Persona, shell: Shell) -> None:
    told = shell("dialogue", "check")
    assert "mail" in told and "assistant-speak" in told and "1 of 41 rows flagged" in told
    assert "chat.jsonl:1" in shell("dialogue", "check", "--only", "mail")
    found = shell.json("dialogue", "check", "--only", "mail,refusal")
    assert (found["rows"], found["flagged"]) == (41, 1)
    assert [(c["check"], len(c["offenders"])) for c in found["checks"]] == [("refusal", 0), ("mail", 1)]
    assert "Nothing is wrong" in shell("dialogue", "check", "--only", "mail", "--set", "mail=2", "--save")
    listed = {one["check"]: one for one in shell.json("dialogue", "check", "--list")}
    assert (listed["mail"]["threshold"], listed["mail"]["default"]) == (2, 1) and listed["low-loss"]["made"] == "when asked for by name"
    assert "near-duplicate" in shell("dialogue", "check", "--list")
    assert "There is no check 'slope'" in shell("dialogue", "check", "--only", "slope", code=2)
    assert "check=number" in shell("dialogue", "check", "--set", "mail", code=2)


def test_clean_says_what_it_would_do_and_does_it_when_told(persona: Persona, shell: Shell) -> None:
    before = list(rows(persona))
    told = shell("dialogue", "clean", "--redact", "all", "--reject", "assistant-speak")
    assert "[mail]" in told and "1 mail would be replaced in 1 row" in told and "1 row would be rejected" in told and "--apply" in told
    assert list(rows(persona)) == before
    done = shell.json("dialogue", "clean", "--pseudonyms", "--apply")
    assert done["applied"] and done["replaced"] == {"mail": 1}
    assert next(r for r in rows(persona) if r.edited).messages[1].content == "Write to person1@example.org then."
    shell("dialogue", "undo")
    assert list(rows(persona)) == before
    for wrong in ([], ["--redact", "shoes"]):
        shell("dialogue", "clean", *wrong, code=2)
    assert "checks.toml" in shell("dialogue", "clean", "--redact", "name", code=1)


def test_nearest_marks_what_is_shared(persona: Persona, shell: Shell) -> None:
    assert "⟦Write to anna⟧" in shell("dialogue", "nearest", "You may write to Anna.")
    (one,) = shell.json("dialogue", "nearest", "You may write to Anna.", "--most", "1")
    assert one["nearest"][0]["runs"] == ["Write to anna"]
    for wrong in ([], ["x", "--vote", "y"], ["--chat", "a:b"]):
        shell("dialogue", "nearest", *wrong, code=2)
    assert "no vote" in shell("dialogue", "nearest", "--vote", "y", code=1)


def test_judging_is_asked_for_and_told(persona: Persona, shell: Shell) -> None:
    put(persona, numbered(3))
    with Judge() as endpoint:
        assert "3 rows judged by m" in shell("dialogue", "judge", "--url", endpoint.url, "--model", "m")
        assert shell.json("dialogue", "judge", "--url", endpoint.url, "--model", "m") == []
    assert "of 10" in shell("dialogue", "check", "--only", "judge-context")
    shell("dialogue", "judge", "--url", "x", "--model", "m", code=1)
