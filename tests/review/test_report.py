"""The report: complete, the same every time, and nothing in a reply can break out of its quotation."""

import re
from pathlib import Path

import pytest

from studio.persona.folder import Persona
from studio.review.report import LONGEST, block, code, report
from studio.review.rounds import Review, open_review, rounds
from studio.review.standing import standing, telling
from studio.review.votes import better, votes
from studio.review.wording import pair_rows
from tests.review.making import add_checkpoint, voted

PAIR = {"sft-1-e1": "Tea first. Then the drawer.", "sft-1-e2": "I am happy to help!"}


@pytest.fixture
def review(persona: Persona) -> Review:
    for name in PAIR:
        add_checkpoint(persona, name)
    return open_review(persona, list(PAIR), seed=5)


def outside_code(markdown: str) -> str:
    """What a Markdown reader would read as markup: everything outside code blocks and code spans."""
    kept, fence = [], ""
    for line in markdown.split("\n"):
        mark = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line.rstrip() == fence else fence
        elif mark:
            fence = mark[0]
        else:
            kept.append(re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
    assert not fence, "a code block is not closed"
    return "\n".join(kept)


def test_a_sitting_is_told_whole(persona: Persona, review: Review) -> None:
    first = voted(persona, review, PAIR, "1", prompt="I had a bad day.", tags=["lovely line"], note="the drawer!")
    voted(persona, review, dict(reversed(PAIR.items())), "2", prompt="我今天过得很糟。")
    voted(persona, review, PAIR, "both_bad", prompt="And now?")
    voted(persona, review, dict(reversed(PAIR.items())), "2", prompt="I had a bad day.", repeat_of=first.round)
    better(persona, first, 1, "Then sit down.")
    text = report(persona, review)
    for expected in (
        "# `Wen`: review-1",
        "4 rounds of 2 replies, 4 votes: 0 skipped, 0 not blind, 1 on rounds shown once more; 0 rounds without a vote.",
        "temperature 0.8, top-p 0.95, at most 300 tokens",
        "`我今天过得很糟。`",
        "●",
        "## The voter",
        "Rounds shown once more: 1 of 1",
        "## By language of the prompt",
        "## Tags",
        "## Beside the votes",
        "Tags: `lovely line`. Note: `the drawer!`.",
        "## Worst rounds",
        "## Corrections",
        "Then sit down.",
    ):
        assert expected in text, expected
    assert text.index("## Best rounds") < text.index("Tea first. Then the drawer.") < text.index("## Worst rounds")
    assert re.search(r"\| `sft-1-e1` \| 1\d\d\d \| \d+ to \d+ \| \d\d% \| 2 \| 0 \| 0 \| 33% \(\d+-\d+\) \|", text)
    assert report(persona, review) == text


def test_a_reply_is_data(persona: Persona, review: Review) -> None:
    nasty = "```\n# Ignore this\n<script>alert(1)</script>\n\x1b[31mred\u202e | a | b |\n~~~\n````\n![x](http://evil)"
    voted(persona, review, {"sft-1-e1": nasty, "sft-1-e2": "`" * 7 + "\n## Not a title"}, "1", prompt="`|<b>|` ``x", tags=[], note="*bold* `")
    voted(persona, review, PAIR, "2", prompt="# not a title")
    text = report(persona, review)
    rest = outside_code(text)
    assert not re.search(r"<script|<b>|!\[|# Ignore|## Not a title|evil|\*bold\*|# not a title", rest)
    assert "\x1b" not in text and "\u202e" not in text and "<script>alert(1)</script>" in text


def test_quotations_close_and_are_cut() -> None:
    assert code("a`b") == "``a`b``" and code("`x`") == "`` `x` ``" and code("a|b", table=True) == "`a\\|b`" and code("a\nb") == "`a b`"
    assert block("x```y")[0] == "````text" and block("plain") == ["```text", "plain", "```"]
    long = block("y" * (LONGEST + 50))
    assert len("\n".join(long)) < LONGEST + 100 and "[… 50 characters more]" in long[-2]


def test_a_review_without_votes_has_a_report(persona: Persona, review: Review) -> None:
    text = report(persona, review)
    assert "No blind vote has been cast yet" in text and "0 prompts: none." in text and outside_code(text)


def test_votes_on_an_earlier_checkpoint_of_the_same_name_are_left_out_and_said(persona: Persona, review: Review) -> None:
    voted(persona, review, PAIR, "1")
    assert standing(persona).votes == 1
    add_checkpoint(persona, "sft-1-e2", extra='[digests]\n"model.safetensors" = "other"\n')
    voted(persona, review, PAIR, "2", prompt="Again?")
    found = standing(persona)
    assert (found.votes, found.stale) == (1, 1) and found.ranking[0].checkpoint == "sft-1-e2"
    assert "1 vote left out" in report(persona, review)
    (persona.checkpoints / "sft-1-e2" / "checkpoint.toml").unlink()
    kept, stale = telling(persona, votes(persona))
    assert len(kept) == 1 and stale == 1, "of one that is deleted, the last that was voted on is meant"


def test_a_damaged_snapshot_costs_the_numbers_beside_and_not_the_ranking(persona: Persona, review: Review) -> None:
    voted(persona, review, PAIR, "1")
    folder: Path = persona.snapshots / "dialogue-bad"
    folder.mkdir()
    (folder / "snapshot.json").write_text("{")
    found = standing(persona)
    assert found.votes == 1 and found.company == [] and "dialogue-bad" in found.company_problem
    assert "dialogue-bad" in report(persona, review)


def test_the_order_of_names_changes_no_digit(persona: Persona, review: Review) -> None:
    for n in range(5):
        voted(persona, review, PAIR, "12"[n % 2], prompt=f"q{n}")
    assert standing(persona, checkpoints=list(PAIR)).ranking == standing(persona, checkpoints=list(PAIR)[::-1]).ranking
    assert len(rounds(persona, review)) == 5


def test_of_many_checkpoints_only_neighbours_are_listed(persona: Persona) -> None:
    names = [f"sft-{n}-e1" for n in range(7)]
    for name in names:
        add_checkpoint(persona, name)
    many = open_review(persona, names, seed=1)
    for n in range(7):
        voted(persona, many, {names[n]: "Sit.", names[(n + 1) % 7]: "No."}, "1", prompt=f"q{n}")
    found = standing(persona)
    rows, left_out = pair_rows(found)
    assert len(found.pairs) == 21 and len(rows) == 6 and "15 other pairs" in left_out and left_out in report(persona, many)
    ranks = [r.checkpoint for r in found.ranking]
    assert {frozenset(row[:2]) for row in rows} == {frozenset(ranks[i : i + 2]) for i in range(6)}
