"""``studio review rank | report | company | judge`` as they are typed."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from studio.cells import fitted, padded, shortened
from studio.cli.main import main
from studio.persona.folder import Persona
from studio.review.rounds import open_review
from tests.review.endpoint import Endpoint
from tests.review.making import add_checkpoint, voted

NAMES = ("sft-12-e1-int4-rtn-long-recipe", "dpo-4-e2-暖炉边的鹅和它的钟", "base")


@pytest.fixture
def voted_on(persona: Persona, monkeypatch: pytest.MonkeyPatch) -> Persona:
    for name in NAMES[:2]:
        add_checkpoint(persona, name)
    review = open_review(persona, list(NAMES), panes=3, seed=1)
    for number, verdict in enumerate(("1", "2", "1", "tie", "both_bad", "1")):
        replies = {name: f"Tea first, said {len(name)} kettles." for name in NAMES}
        voted(persona, review, replies, verdict, prompt=("我很累。" if number % 2 else "Bad day."), tags=["too long"] * (number % 2))  # type: ignore[arg-type]
    monkeypatch.chdir(persona.root)
    monkeypatch.setenv("COLUMNS", "80")
    return persona


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    got = capsys.readouterr()
    return got.out if code == 0 else got.err


def test_every_table_fits_eighty_columns(voted_on: Persona, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("review", "rank"), ("review", "rank", "--by", "tag"), ("review", "rank", "--by", "language")):
        lines = said(capsys, *words).split("\n")
        tables = [line for line in lines if not line.startswith(("lore", "varied", "length", "cut", "copied:", "“", "From"))]
        assert max(map(cell_len, tables)) <= 80, max(tables, key=cell_len)
        assert any("int4" in line or "recipe" in line for line in tables) and any("鹅" in line or "钟" in line for line in tables)
    assert "Chinese: 3 votes" in "\n".join(lines)


def test_names_are_cut_in_the_middle() -> None:
    assert shortened("abcdefghij", 7) == "abc…hij" and shortened("short", 9) == "short"
    assert cell_len(shortened("暖炉边的鹅和它的钟", 8)) <= 8 and cell_len(padded("暖炉边的鹅和它的钟", 8)) == 8
    assert [cell_len(shortened("暖炉边的鹅", n)) <= max(n, 1) for n in range(1, 10)] == [True] * 9
    lines = fitted(("name", "n"), [("x" * 100, "12345")], "lr", room=20)
    assert [cell_len(line) for line in lines] == [20, 20]


def test_the_json_keeps_its_shape_and_has_more(voted_on: Persona, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(said(capsys, "review", "rank", "--json"))
    assert found["votes"] == 6 and set(found["pairs"][0]) == {"a", "b", "p_a_better", "votes_needed"}
    assert set(found["ranking"][0]) >= {"checkpoint", "score", "low", "high", "wins", "losses", "ties", "both_bad", "bad_low", "bad_high"}
    assert found["voter"]["consistency"]["same"] == {"k": 0, "n": 0, "low": 0.0, "high": 1.0}
    assert {row["language"] for row in found["by_language"]} == {"latin", "zh"} and found["by_tag"][0]["tag"] == "too long"
    assert [c["replies"]["replies"] for c in found["company"]] == [2, 2, 2] and found["judges"] == []


def test_a_report_goes_where_it_is_told(voted_on: Persona, capsys: pytest.CaptureFixture[str]) -> None:
    on_screen = said(capsys, "review", "report")
    assert said(capsys, "review", "report", "--to", "out/report.md").startswith("The report on review-1 is in out/report.md")
    written = Path("out/report.md")
    assert written.read_text(encoding="utf-8") == on_screen and written.stat().st_mode & 0o777 == 0o600
    assert json.loads(said(capsys, "review", "report", "--json"))["markdown"] == on_screen
    assert "There is no review" in said(capsys, "review", "report", "--review", "review-7", code=1)


def test_company_without_an_engine(voted_on: Persona, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "review", "company", "--offline")
    assert "lore and nats are not measured yet" in shown and "From 2 replies of each" in shown
    one = json.loads(said(capsys, "review", "company", "dpo-4", "--offline", "--json"))
    assert [c["checkpoint"] for c in one] == [NAMES[1]] and one[0]["likelihood"] is None
    assert "no checkpoint 'nobody'" in said(capsys, "review", "company", "nobody", "--offline", code=1)


def test_a_judge_is_asked_and_shown(voted_on: Persona, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_EXTERNAL_KEY", "k-123")
    assert "--url URL --model NAME" in said(capsys, "review", "judge", code=2)
    with Endpoint(lambda asked: "A") as endpoint:
        told = said(capsys, "review", "judge", "--url", endpoint.url, "--model", "big", "--limit", "2")
        assert "2 rounds judged now" in told and "big at 127.0.0.1" in told and "2 with two minds" in told
        assert "big at 127.0.0.1" in said(capsys, "review", "rank")
    assert json.loads(said(capsys, "review", "rank", "--json"))["votes"] == 6
