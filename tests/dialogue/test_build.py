"""What is frozen: rejected rows never, ratios as asked for, nothing held out that was nearly learned, and the same again to the byte."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from studio.cli.main import main
from studio.dialogue.build import build
from studio.dialogue.editing import Editor
from studio.dialogue.formats import Message
from studio.dialogue.mixing import Traits, mix, read_ratio
from studio.dialogue.store import REJECTED, Row, row_id, rows
from studio.errors import StudioError, UsageError
from studio.files import read_lines
from studio.near import pairs
from studio.persona.folder import Persona, create
from studio.shards import append_rows
from studio.snapshots import Snapshot, all_snapshots, card_of, find_snapshot, read_snapshot

WORDS = "lamp ferry dusk keeper book quiet storm kettle tea water stone bridge letter window goose kite ledger umbrella plum bell glove coat"


def made(n: int, source: str = "a.jsonl", hungarian: bool = False) -> Row:
    drawn = random.Random(f"{source}{n}")
    said = " ".join(drawn.choices(WORDS.split(), k=14))
    reply = (
        f"Azt hiszem, hogy {n} lámpa ég még a kikötőben, és senki nem oltja el őket." if hungarian else " ".join(drawn.choices(WORDS.split(), k=20))
    )
    if hungarian:
        reply += " " + " ".join(drawn.choices(WORDS.split(), k=12))
    messages = [Message("user", said + "?"), Message("assistant", reply + ".")]
    return Row(row_id(messages), messages, source, n + 1, time=f"2024-{n % 12 + 1:02}-{n % 28 + 1:02}T10:00:00")


def sides(persona: Persona, snapshot: Snapshot) -> tuple[list[Row], list[Row]]:
    by_id = {row.id: row for row in rows(persona)}
    folder = persona.snapshots / snapshot.id
    first, second = ([by_id[value["id"]] for _, value in read_lines(folder / f"{half}.jsonl")] for half in ("train", "val"))
    return first, second


def text(row: Row) -> str:
    return "\n".join(m.content for m in row.messages)


@pytest.fixture
def mixed(persona: Persona) -> Persona:
    append_rows(
        persona.dialogue,
        [made(n) for n in range(200)] + [made(n, "b.jsonl", n % 2 == 0) for n in range(100)] + [made(n, "c.jsonl") for n in range(40)],
    )
    return persona


def test_two_builds_of_the_same_rows_are_the_same_to_the_byte(mixed: Persona, tmp_path: Path) -> None:
    other = create("Wen", parent=tmp_path / "elsewhere")
    append_rows(other.dialogue, list(rows(mixed)))
    folders = []
    for persona in (mixed, other):
        snapshot = build(persona, split="source", ratios={"src:a": 0.5})
        folders.append({path.name: path.read_bytes() for path in (persona.snapshots / snapshot.id).iterdir()} | {"": snapshot.id.encode()})
    assert folders[0] == folders[1] and set(folders[0]) == {"", "train.jsonl", "val.jsonl", "snapshot.json", "card.md"}
    assert build(mixed, split="source", ratios={"src:a": 0.5}).id == folders[0][""].decode()
    assert [path.name for path in mixed.snapshots.iterdir()] == [folders[0][""].decode()]


def test_rejected_rows_are_kept_counted_and_never_built(mixed: Persona) -> None:
    every = list(rows(mixed))
    Editor(mixed).judge([row.id for row in every[:30]], REJECTED)
    snapshot = build(mixed)
    train, val = sides(mixed, snapshot)
    assert {row.id for row in train + val} == {row.id for row in every[30:]}
    assert snapshot.notes["left out: rejected"] == 30 == snapshot.card["left_out"]["rejected"]
    assert len(list(rows(mixed))) == 340
    Editor(mixed).judge([row.id for row in every], REJECTED)
    with pytest.raises(StudioError, match="All 340 rows"):
        build(mixed)


@pytest.mark.parametrize("split", ["rows", "time", "source", "group"])
def test_nothing_like_what_is_held_out_is_trained_on(mixed: Persona, split: str) -> None:
    every = list(rows(mixed))
    near = []
    for n, row in enumerate(every[::4]):
        messages = [Message(m.role, m.content.replace(".", " of it.")) for m in row.messages]
        near.append(Row(row_id(messages), messages, ("a.jsonl", "b.jsonl", "c.jsonl")[n % 3], n, time=row.time))
    append_rows(mixed.dialogue, near)
    _, (first, second) = Editor(mixed).split(Editor(mixed).merge([every[1].id, every[150].id])[1], 2)
    Editor(mixed).tag([row.id for row in every[200:260] if row.id != every[1].id], ["group:harbour"])
    Editor(mixed).tag([row.id for row in every[300:330]], ["group:inn"])
    snapshot = build(mixed, split=split)
    train, val = sides(mixed, snapshot)
    assert 5 <= len(val) <= 110
    assert not [(i, j) for i, j, _ in pairs([text(row) for row in val + train]) if i < len(val) <= j]
    assert (first in {r.id for r in train}) == (second in {r.id for r in train}) or not ({first, second} & {r.id for r in val})
    assert snapshot.card["straddling"] == 0
    if split == "source":
        assert {row.source for row in val}.isdisjoint(row.source for row in train)
    if split == "group":
        assert {tag for row in val for tag in row.tags}.isdisjoint(tag for row in train for tag in row.tags)
    if split == "time":
        assert min(row.time for row in val) >= sorted(row.time for row in rows(mixed))[-60]


def test_a_set_made_by_one_pattern_is_still_split_and_says_so(persona: Persona) -> None:
    def pattern(n: int) -> Row:
        messages = [Message("user", f"{n}?"), Message("assistant", f"Number {n} is for the ferry that is late, and it has been lit since March.")]
        return Row(row_id(messages), messages, "p.jsonl", n)

    append_rows(persona.dialogue, [pattern(n) for n in range(60)])
    snapshot = build(persona)
    assert snapshot.val_rows == 6 and snapshot.card["straddling"] == 60
    assert "the validation loss flatters" in (persona.snapshots / snapshot.id / "card.md").read_text()


def test_ratios_hold_and_what_a_model_wrote_is_visible_and_not_held_out(mixed: Persona) -> None:
    synthetic = [made(n, "synth") for n in range(80)]
    for row in synthetic:
        row.made = "synthetic"
    append_rows(mixed.dialogue, synthetic)
    snapshot = build(mixed, ratios={"src:a.jsonl": 0.5, "lang:hu": 0.2, "is:synthetic": 0.1})
    train, val = sides(mixed, snapshot)
    both = train + val
    for has, share in ((lambda r: r.source == "a.jsonl", 0.5), (lambda r: "Azt hiszem" in text(r), 0.2), (lambda r: r.made == "synthetic", 0.1)):
        assert sum(map(has, both)) / len(both) == pytest.approx(share, abs=0.02)
    assert len(both) > 150 and not any(row.made for row in val)
    assert snapshot.notes["synthetic rows to train on"] == sum(row.made == "synthetic" for row in train) > 0
    assert snapshot.notes["left out: to keep the ratios"] == 420 - len(both)
    card = (mixed.snapshots / snapshot.id / "card.md").read_text()
    assert f"| written by a model | {snapshot.notes['synthetic rows to train on']} (" in card and "| hu |" in card and "is:synthetic 10%" in card
    assert read_snapshot(mixed.snapshots / snapshot.id).card == snapshot.card
    assert [value.get("made") for _, value in read_lines(mixed.snapshots / snapshot.id / "train.jsonl")].count("synthetic") > 0


def test_ratios_that_cannot_hold_are_said_in_a_sentence() -> None:
    found = [Traits(f"d{n}", "a" if n % 2 else "b", "en" if n % 2 else "hu", False, ()) for n in range(100)]
    assert len(mix(found, {"src:a": 0.25}, 1)) in (66, 67)
    assert mix(found, {"src:a": 1.0}, 1) == list(range(1, 100, 2))
    assert mix(found, {"src:a": 0.25}, 1) != mix(found, {"src:a": 0.25}, 2)
    for ratios, why in (
        ({"src:nowhere": 0.1}, "no row of src:nowhere"),
        ({"src:a": 0.5, "src:b": 0.3}, "no row left besides them"),
        ({"src:a": 0.7, "src:b": 0.6}, "more than all rows"),
        ({"src:a": 0.5, "lang:en": 0.9}, "cannot hold together"),
    ):
        with pytest.raises((StudioError, UsageError), match=why):
            mix(found, ratios, 1)
    assert read_ratio("chat=0.3") == ("src:chat", 0.3) and read_ratio("lang:hu=20%") == ("lang:hu", 0.2)
    for wrong in ("chat", "chat=2", "is:rejected=0.1", "=0.5"):
        with pytest.raises(UsageError):
            read_ratio(wrong)


def test_the_plan_of_a_persona_is_followed_and_a_wrong_one_named(mixed: Persona) -> None:
    (mixed.recipes / "dialogue.toml").write_text('split = "time"\nval = 0.05\n[mix]\n"src:a" = 0.5\n')
    snapshot = build(mixed)
    assert snapshot.card["split"] == {"by": "time", "seed": 17, "val_share": 0.05} and snapshot.card["ratios"] == {"src:a": 0.5}
    assert build(mixed, split="rows", ratios={}).card["split"]["by"] == "rows"
    (mixed.recipes / "dialogue.toml").write_text("splitt = 1\n")
    with pytest.raises(StudioError, match=r"dialogue\.toml is no plan"):
        build(mixed)
    assert msgspec.json.decode((mixed.snapshots / snapshot.id / "snapshot.json").read_bytes())["kind"] == "dialogue"


def test_an_older_snapshot_and_its_card_are_found_by_a_part_of_its_name(mixed: Persona, capsys: pytest.CaptureFixture[str]) -> None:
    older, newer = build(mixed, split="rows"), build(mixed, split="source")
    assert [one.id for one in all_snapshots(mixed, "dialogue")] == [older.id, newer.id]
    assert find_snapshot(mixed, older.id.partition("-")[2][:8]) == older
    assert main(["-p", str(mixed.root), "snapshots", older.id[:-2]]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"# Dialogue of Wen: {older.id}\n") and "drawn by chance" in shown
    (mixed.snapshots / older.id / "card.md").unlink()
    assert card_of(mixed, older) == ""
    assert main(["-p", str(mixed.root), "snapshots", older.id]) == 0
    assert "rows to train on" in capsys.readouterr().out
    for wrong in ("dialogue-", "lore-0"):
        with pytest.raises(StudioError, match="see them with: studio snapshots"):
            find_snapshot(mixed, wrong)
