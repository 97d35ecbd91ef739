"""WhatsApp's dates, speakers and the app's own lines, beyond what the fixtures of the countries show."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.dialogue import store
from studio.dialogue.adding import add
from studio.dialogue.importers.base import Asked
from studio.dialogue.importers.registry import AmbiguousFormat
from studio.dialogue.importers.whatsapp import AmbiguousDates, head_of, order_of
from studio.persona.folder import Persona


@pytest.mark.parametrize(
    ("line", "date", "time", "rest"),
    [
        ("6/13/25, 10:02 PM - Tom: x", "6 13 25", "10:02", "Tom: x"),
        ("6/13/25, 10:02\u202fPM - Tom: x", "6 13 25", "10:02", "Tom: x"),
        ("6/13/25, 10:02\xa0pm – Tom: x", "6 13 25", "10:02", "Tom: x"),
        ("\u200e[13/06/2025, 22:02:10] Tom: x", "13 06 2025", "22:02", "Tom: x"),
        ("[13.06.25, 22:02:10] Tom: x", "13 06 25", "22:02", "Tom: x"),
        ("[2025-06-13 10:02:10 PM] Tom: x", "2025 06 13", "10:02", "Tom: x"),
        ("03-06-2018, 01.55 PM - Tom: x", "03 06 2018", "01:55", "Tom: x"),
        ("13.06.18 21.25.15: Tom: x", "13 06 18", "21:25", "Tom: x"),
        ("13.6.2018 klo 21.25.15 - Tom: x", "13 6 2018", "21:25", "Tom: x"),
        ("13. 6. 2018. 21:25:15 - Tom: x", "13 6 2018", "21:25", "Tom: x"),
        ("13. 6. 2018. 21:25:15 Tom: x", "13 6 2018", "21:25", "Tom: x"),
        ("2018/06/13, 21:25 - Tom: x", "2018 06 13", "21:25", "Tom: x"),
        ("2018/6/13 下午9:25 - Tom: x", "2018 6 13", "9:25", "Tom: x"),
        ("2018년 6월 13일 오후 9:25, Tom : x", "2018 6 13", "9:25", "Tom : x"),
        ("13/6/25, 9:25 a. m. - Tom: x", "13 6 25", "9:25", "Tom: x"),
        ("13\u200f/6\u200f/2025، 9:25 م - Tom: x", "13 6 2025", "9:25", "Tom: x"),
        ("13.06.15, 22:02 Uhr - Tom: x", "13 06 15", "22:02", "Tom: x"),
        ("13/06/2025 was a bad day - Tom: x", "", "", ""),
        ("[13/06/2025, 22:02:10 Tom: x", "", "", ""),
        ("Tom: 13/06/2025, 22:02 - x", "", "", ""),
    ],
)
def test_heads_of_messages(line: str, date: str, time: str, rest: str) -> None:
    found = head_of(line)
    if not date:
        assert found is None
        return
    assert found and f"{found['a']} {found['b']} {found['c']}" == date
    assert f"{found['hour']}:{found['minute']}" == time and line[found.end() :] == rest


@pytest.mark.parametrize(
    ("dates", "order"),
    [
        ("13/6/25 14/6/25", "dmy"),
        ("6/13/25 6/14/25", "mdy"),
        ("2025/6/13", "ymd"),
        ("1/2/25 1/9/25 2/3/25", "mdy"),
        ("2/1/25 9/1/25 3/2/25", "dmy"),
        ("3/1/25 3/2/25 3/4/25 3/9/25", "mdy"),
        ("1/3/25 2/3/25 4/3/25 9/3/25", "dmy"),
        ("3/4/25", ""),
        ("3/4/25 3/5/25", ""),
        ("13/6/25 6/13/25", ""),
        ("25/06/13 45/06/14 45/06/15", "ymd"),
    ],
)
def test_the_order_of_day_and_month_is_decided_by_evidence(dates: str, order: str) -> None:
    assert order_of([(a, b, c) for a, b, c in (date.split("/") for date in dates.split())]) == order


def chat(tmp_path: Path, *lines: str, name: str = "WhatsApp Chat with Mira.txt") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_truly_ambiguous_dates_are_asked_for(mira: Persona, tmp_path: Path) -> None:
    path = chat(tmp_path, "3/4/25, 22:02 - Tom: secret", "3/4/25, 22:03 - Mira: yes")
    with pytest.raises(AmbiguousDates, match=r"Mira\.txt:1: .*3/4/25.*--dates dmy") as told:
        add(mira, [path])
    assert "secret" not in str(told.value)
    for dates, time in (("dmy", "2025-04-03T22:02:00"), ("mdy", "2025-03-04T22:02:00"), ("ymd", "2003-04-25T22:02:00")):
        assert add(mira, [path], Asked(dates=dates), dry_run=True).preview[0].time == time


def test_halves_of_the_day(mira: Persona, tmp_path: Path) -> None:
    lines = ["6/13/25, 12:02 AM - Tom: a", "6/13/25, 12:03 AM - Mira: b", "6/13/25, 12:02 PM - Tom: c", "6/13/25, 12:03 PM - Mira: d"]
    add(mira, [chat(tmp_path, *lines)])
    assert [row.time for row in store.rows(mira)] == ["2025-06-13T00:02:00", "2025-06-13T12:02:00"]


def test_no_such_date_is_dropped_with_its_line(mira: Persona, tmp_path: Path) -> None:
    lines = [f"{day}/6/25, 22:0{n} - {who}: x{day}" for n, (day, who) in enumerate([(29, "Tom"), (29, "Mira"), (31, "Tom"), (30, "Mira")])]
    report = add(mira, [chat(tmp_path, *lines)])
    assert report.dropped["broken date"] == 1 and report.faults[0].line == 3


def test_lines_of_the_app_are_no_speakers(mira: Persona, tmp_path: Path) -> None:
    talk = [f"13/6/25, 22:{n:02} - {'Tom' if n % 2 else 'Mira'}: line {n}" for n in range(6)]
    app = [
        "13/6/25, 22:30 - Tom changed the group description to: Lamps: nine of them",
        "13/6/25, 22:31 - Tom changed the group description to: Lamps",
        "13/6/25, 22:32 - Tom changed the group description to: Lamps",
        "13/6/25, 22:33 - Mira added Otto",
        "13/6/25, 22:34 - Otto: hello, who is this",
    ]
    report = add(mira, [chat(tmp_path, *talk, *app)], dry_run=True)
    assert (report.dropped["system line"], report.dropped["speaks only once"]) == (4, 1) and set(report.speakers) == {"Tom", "Mira"}
    confirmed = add(mira, [chat(tmp_path, *talk, *app)], Asked(leave_out=("Otto",)), dry_run=True)
    assert (confirmed.dropped["system line"], confirmed.dropped["left out"]) == (4, 1)


def test_two_names_that_begin_alike_are_both_speakers(mira: Persona, tmp_path: Path) -> None:
    lines = [f"13/6/25, 22:{n:02} - {name}: {n}" for n, name in enumerate(["Tom", "Mira", "Tom Miller", "Mira", "Tom", "Tom Miller"])]
    assert set(add(mira, [chat(tmp_path, *lines)], dry_run=True).speakers) == {"Tom", "Mira", "Tom Miller"}


def test_a_line_that_only_looks_dated_is_text(mira: Persona, tmp_path: Path) -> None:
    lines = ["13/6/25, 22:00 - Tom: when?", "13/6/25, 22:01 - Mira: dates:", "14/6/25, 10:00 the ferry", "15/6/25 maybe", "13/6/25, 22:02 - Tom: ok"]
    add(mira, [chat(tmp_path, *lines)])
    assert [m.content for m in next(store.rows(mira)).messages] == ["when?", "dates:\n14/6/25, 10:00 the ferry\n15/6/25 maybe"]


def test_media_in_a_language_nobody_listed_is_told_by_its_form(mira: Persona, tmp_path: Path) -> None:
    lines = [f"13/6/25, 22:{n:02} - {'Tom' if n % 2 else 'Mira'}: {'<zzz qqq>' if n % 3 else f'say {n}'}" for n in range(9)]
    report = add(mira, [chat(tmp_path, *lines)], dry_run=True)
    assert report.dropped["media"] == 6
    few = [line for line in lines if "say" in line] + ["13/6/25, 22:10 - Tom: <grins>", "13/6/25, 22:11 - Mira: <shrugs>"]
    assert add(mira, [chat(tmp_path, *few)], dry_run=True).dropped["media"] == 0, "what people act out in brackets is theirs"


def test_signal_and_whatsapp_alike_are_asked_apart(mira: Persona, tmp_path: Path) -> None:
    lines = ["[2025-06-13 21:58:00] Me: \u200eis it you", "[2025-06-13 21:59:00] Mira: yes"]
    with pytest.raises(AmbiguousFormat, match="--format whatsapp or --format signal-chat"):
        add(mira, [chat(tmp_path, *lines, name="chat.md")])
    assert add(mira, [chat(tmp_path, *lines, name="chat.md")], Asked(format="signal-chat"), dry_run=True).kept == 1


def test_an_order_that_is_said_gives_way_where_the_dates_cannot_have_it(mira: Persona, tmp_path: Path) -> None:
    for name, day in (("clear", "3/14/25"), ("open", "3/4/25")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "WhatsApp Chat with Mira.txt").write_text(f"{day}, 10:02 PM - Tom: Lamp?\n{day}, 10:03 PM - Mira: Which, {name}?\n" * 2)
    report = add(mira, [tmp_path / "clear", tmp_path / "open"], Asked(me=("Tom",), character=("Mira",), dates="dmy"))
    assert not report.dropped["broken date"]
    assert sorted(row.time[:10] for row in store.rows(mira)) == ["2025-03-14", "2025-04-03"]
