"""Marks of a language model: never lost, never with another row, asked once; and the losses of the base, likewise."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from studio.dialogue import judging, surprise
from studio.dialogue.checks import run
from studio.dialogue.editing import Editor
from studio.dialogue.flags import text_of
from studio.dialogue.judging import judge, judged_path, means, read_scores, scores
from studio.dialogue.store import rows
from studio.engines.servers import Server
from studio.errors import StudioError
from studio.persona.folder import Persona
from tests.dialogue.checks.making import good, put, row
from tests.dialogue.checks.test_checks import small_base
from tests.review.endpoint import Endpoint


def marks_of(number: int) -> dict[str, int]:
    return {"vocabulary": number % 10 + 1, "prose": number // 10 % 10 + 1, "context": number // 100 % 10 + 1}


class Judge(Endpoint):
    """Grades a row by the number that stands in it, so that a mark with another row would be seen."""

    def __init__(self, delay: float = 0.0, refuses_schema: bool = False, fails: int = 0, **more: Any) -> None:
        super().__init__(**more)
        self.delay, self.refuses_schema, self.fails = delay, refuses_schema, fails

    def answer(self, path: str, asked: dict[str, Any]) -> bytes:
        if path != "/v1/chat/completions":
            return super().answer(path, asked)
        time.sleep(self.delay)
        if self.fails > 0:
            self.fails -= 1
            return b""
        number = int(re.search(r"row number (\d+)", asked["messages"][0]["content"])[1])  # type: ignore[index]
        said = json.dumps(marks_of(number)) if "response_format" in asked else f"I would say {{}}.\n```json\n{json.dumps(marks_of(number))}\n```"
        return json.dumps({"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}).encode()


def numbered(count: int) -> list[Any]:
    return [row(f"This is row number {n}. Well?", "So it is, and there are more of them.", "Hm?", "Hm.") for n in range(count)]


def check_pairing(persona: Persona) -> set[str]:
    by_id = {one.id: one for one in rows(persona)}
    for score in scores(persona):
        said = by_id[score.id]
        number = int(re.search(r"\d+", said.messages[0].content)[0])  # type: ignore[index]
        assert {"vocabulary": score.vocabulary, "prose": score.prose, "context": score.context} == marks_of(number)
        assert score.text == text_of(said)
    return {score.id for score in scores(persona)}


def test_rows_are_judged_once_and_again_only_when_they_were_edited(persona: Persona) -> None:
    put(persona, numbered(12))
    with Judge() as endpoint:
        assert len(judge(persona, endpoint.url, "m", limit=4)) == 4
        assert len(judge(persona, endpoint.url, "m")) == 8
        assert check_pairing(persona) == {one.id for one in rows(persona)} and len(endpoint.requests) == 12
        assert judge(persona, endpoint.url, "m") == []
        first = next(rows(persona))
        Editor(persona).rewrite(first.id, 1, "Another thing altogether.")
        (again,) = judge(persona, endpoint.url, "m")
        assert again.id == first.id and again.text != text_of(first)
        assert endpoint.requests[0]["response_format"]["json_schema"]["schema"]["required"] == ["vocabulary", "prose", "context"]
    found = {finding.check: finding for finding in run(persona, ["judge-vocabulary", "judge-prose"]).checks}
    assert {o.flags[0].value for o in found["judge-vocabulary"].offenders} == {1.0, 2.0, 3.0, 4.0}
    assert len(found["judge-prose"].offenders) == 12
    assert "12 rows judged" in found["judge-prose"].remarks[0]


def test_the_mean_of_judges_counts_and_each_ones_last_word(persona: Persona) -> None:
    put(persona, numbered(1))
    only = next(rows(persona))
    lines = [("a", 2), ("a", 4), ("b", 9), ("c", 0)]
    judged_path(persona).write_text(
        "".join(
            json.dumps({"id": only.id, "text": text_of(only), "model": m, "host": "h", "t": 1.0, "vocabulary": v, "prose": v, "context": v}) + "\n"
            for m, v in lines
        )
    )
    assert means(persona) == {(only.id, text_of(only)): {"vocabulary": 6.5, "prose": 6.5, "context": 6.5}}


def test_an_endpoint_without_schemas_and_one_that_stumbles(persona: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "WAIT", 0.01)
    put(persona, numbered(6))
    with Judge(fails=3) as endpoint:
        judge(persona, endpoint.url, "m")
    assert len(check_pairing(persona)) == 6
    with Judge(fails=10_000) as endpoint, pytest.raises(StudioError, match="0 of 6 rows were judged"):
        judge(persona, endpoint.url, "other")
    with pytest.raises(StudioError, match="no address"):
        judge(persona, "ftp://x", "m")
    with pytest.raises(StudioError, match="STUDIO_EXTERNAL_KEY"):
        judge(persona, "http://me:secret@localhost/v1", "m")


@pytest.mark.parametrize(
    ("said", "marks"),
    [
        ('{"vocabulary": 5, "prose": 6, "context": 7}', (5, 6, 7)),
        ('<think>{"vocabulary": 1, "prose": 1, "context": 1}</think> {"vocabulary": "8", "prose": 6, "context": 7, "why": "x"}', (8, 6, 7)),
        ('{"vocabulary": 11, "prose": 6, "context": 7}', (0, 0, 0)),
        ('{"vocabulary": 5, "prose": 6}', (0, 0, 0)),
        ("I cannot grade this.", (0, 0, 0)),
        ('{"vocabulary": null, "prose": [], "context": {}}', (0, 0, 0)),
    ],
)
def test_answers_are_read_or_told_to_be_unreadable(said: str, marks: tuple[int, int, int]) -> None:
    assert read_scores(said) == marks


def test_after_a_kill_nothing_is_lost_or_misplaced(persona: Persona) -> None:
    put(persona, numbered(60))
    script = "import sys; from pathlib import Path; from studio.persona.folder import open_persona; from studio.dialogue.judging import judge; "
    script += "judge(open_persona(Path(sys.argv[1])), sys.argv[2], 'm')"
    with Judge(delay=0.03) as endpoint:
        for _ in range(3):
            before = len(scores(persona))
            process = subprocess.Popen([sys.executable, "-c", script, str(persona.root), endpoint.url], env=os.environ)
            while len(scores(persona)) < before + 7 and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            with judged_path(persona).open("ab") as file:
                file.write(b'{"id":"torn')  # what a power cut in the middle of a write would leave
        asked = len(endpoint.requests)
        done = check_pairing(persona)
        assert 21 <= len(done) < 60
        assert len(judge(persona, endpoint.url, "m")) == 60 - len(done)
        assert len(endpoint.requests) - asked == 60 - len(done)
    assert check_pairing(persona) == {one.id for one in rows(persona)}


def test_losses_are_those_of_what_is_learned_and_measured_once(persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word costs what its endpoint says; a row without surprises and one full of them stand out."""
    base = small_base(tmp_path / "base")
    words = ("usual", "known", "strange", "asked", ".")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.add_tokens(list(words))
    tokenizer.save(str(base / "tokenizer.json"))
    persona.manifest.base = str(base)
    costs = {tokenizer.token_to_id(word): nats for word, nats in (("usual", 3.0), ("known", 0.2), ("strange", 9.0), ("asked", 50.0))}

    class Engine(Endpoint):
        def answer(self, path: str, asked: dict[str, Any]) -> bytes:
            values = [None, *(-costs.get(token, 3.0) for token in asked["prompt"][1:])]
            return json.dumps({"choices": [{"logprobs": {"token_logprobs": values}}]}).encode()

    said = [f"{'usual ' * (20 + n)}{'known ' * (n % 7)}." for n in range(40)]
    rows_ = [row("asked asked", one) for one in said] + [row("asked", "known " * 60 + "."), row("asked", "strange " * 40 + ".")]
    put(persona, rows_)
    with Engine() as endpoint:
        (tmp_path / "key").write_text("k")

        @contextmanager
        def served(persona: Persona, engine: str, progress: object) -> Iterator[tuple[Server, str]]:
            yield Server("scorer", "embedded", endpoint.url, {"base": "base"}, folder=str(tmp_path)), "base"

        monkeypatch.setattr(surprise, "_served", served)
        found = {finding.check: finding for finding in run(persona, ["low-loss", "high-loss"]).checks}
        assert [o.id for o in found["low-loss"].offenders] == [rows_[40].id]
        assert [o.id for o in found["high-loss"].offenders] == [rows_[41].id]
        # 60 words of 0.2, a full stop and the end of the turn of 3.0 each; what was asked does not count.
        assert found["low-loss"].offenders[0].flags[0].value == pytest.approx((60 * 0.2 + 2 * 3.0) / 62, abs=1e-3)
        assert len(endpoint.requests) == 42
        run(persona, ["low-loss"])
        assert len(endpoint.requests) == 42
        put(persona, [*rows_, *good(1)])
        run(persona, ["low-loss"])
        assert len(endpoint.requests) == 43
        assert "low-loss" not in {finding.check for finding in run(persona).checks}
