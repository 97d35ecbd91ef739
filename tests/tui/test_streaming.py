"""Text that arrives in pieces stands on screen as if it had come whole."""

from __future__ import annotations

import random
import textwrap
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from studio.tui.streaming import StreamPane, draw_now
from studio.tui.wrapping import Wrapper

WORDS = ["the", "Minister", "has", "spoken", "and", "the", "goose", "sat", "on", "letter", "K", "where", "things", "hum", "a", "little"]


def wrapped(text: str, width: int) -> list[str]:
    wrapper = Wrapper(width)
    wrapper.feed(text)
    return [row.rstrip(" ") for row in wrapper.rows]


@pytest.mark.parametrize("width", [10, 17, 36, 80])
def test_plain_prose_wraps_like_textwrap(width: int) -> None:
    chance = random.Random(width)
    text = " ".join(chance.choice(WORDS) for _ in range(400))
    assert wrapped(text, width) == textwrap.wrap(text, width, break_on_hyphens=False)


def test_wide_characters_break_anywhere_but_not_before_a_full_stop() -> None:
    assert wrapped("水壶叫了，先喝茶。", 10) == ["水壶叫了，", "先喝茶。"]
    assert wrapped("先喝茶先喝。", 10) == ["先喝茶先", "喝。"]
    assert wrapped("她说「来」", 6) == ["她说", "「来」"]


def test_textwrap_over_cells_agrees_for_words_of_wide_characters() -> None:
    """CJK words set apart by spaces, each character two cells: textwrap on doubled letters gives the same rows."""
    chance = random.Random(3)
    words = ["".join(chance.choice("茶水钟雾") for _ in range(chance.randrange(1, 4))) for _ in range(200)]
    doubled = textwrap.wrap(" ".join("".join(c * 2 for c in word) for word in words), 20)
    rows = wrapped(" ".join(words), 20)
    assert sum(map(cell_len, rows)) >= sum(map(len, doubled)) - 2 * len(doubled)
    assert max(map(cell_len, rows)) <= 20 and len(rows) <= len(doubled)


def test_emoji_clusters_are_never_cut() -> None:
    family, flag, heart = "👩‍👩‍👧", "🇭🇺", "❤️"
    for cluster in (family, heart):
        rows = wrapped(cluster * 30, 7)
        assert all(set(row.replace(cluster, "")) == set() for row in rows)
    assert max(cell_len(row) for row in wrapped((family + heart + flag) * 40, 9)) <= 9


pieces = st.lists(st.sampled_from([*"ab  \n\n水，「」。é", "e\u0301", "👩\u200d👧", "❤\ufe0f", "word ", "longerword"]), max_size=40).map("".join)


@settings(max_examples=300, deadline=None)
@given(pieces, st.integers(2, 14), st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_the_pieces(text: str, width: int, chance: random.Random) -> None:
    whole, piecewise = Wrapper(width), Wrapper(width)
    whole.feed(text)
    at = 0
    while at < len(text):
        step = chance.randrange(1, 6)
        piecewise.feed(text[at : at + step])
        at += step
    assert piecewise.rows == whole.rows
    assert all(cell_len(row.rstrip(" ")) <= width for row in whole.rows)
    assert "".join("".join(whole.rows).split()) == "".join(text.split())


def test_a_thousand_accents_and_endless_blanks_still_make_rows() -> None:
    rows = Wrapper(20)
    for _ in range(500):
        rows.feed("\u0301" * 20)
    assert len(rows.rows) > 20
    blanks = Wrapper(20)
    blanks.feed(" " * 10_000)
    assert len(blanks.rows) > 20


class PaneApp(App[None]):
    CSS = "StreamPane { height: 10; }"

    def compose(self) -> ComposeResult:
        yield StreamPane()


def screen_text(app: App[None]) -> str:
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


async def test_it_follows_its_end_until_one_scrolls_away_and_rewraps_on_resize() -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 12)) as pilot:
        pane = app.query_one(StreamPane)
        pane.writing = True
        for n in range(60):
            pane.feed(f"line {n}\n")
        await pilot.pause()
        assert "line 59" in screen_text(app)
        pane.focus()
        await pilot.press("pageup")
        await pilot.pause()
        assert not pane.following
        pane.feed("the newest\n")
        await pilot.pause()
        assert "the newest" not in screen_text(app)
        await pilot.press("end")
        await pilot.pause()
        assert pane.following and "the newest" in screen_text(app)
        pane.feed("a long sentence that has to be wrapped when the pane is narrow")
        await pilot.resize_terminal(24, 12)
        await pilot.pause()
        assert max(map(cell_len, pane.rows)) <= 23
        assert "narrow" in screen_text(app)


async def test_hostile_text_is_drawn_harmless_and_kept_raw() -> None:
    hostile = "\x1b]52;c;aGk=\x07\x1b[2J[bold]not bold[/] [@click=app.quit]x[/] \u202egnp\u0085\x00end"
    app = PaneApp()
    async with app.run_test(size=(60, 12)) as pilot:
        pane = app.query_one(StreamPane)
        pane.feed(hostile)
        await pilot.pause()
        drawn = screen_text(app)
        assert pane.raw == hostile
        assert "[bold]not bold[/]" in drawn and "␛]52" in drawn
        assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c == "\u202e" for c in drawn)


async def test_a_first_piece_waits_for_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the pane's taking the piece and its being given to the terminal nothing else has its turn."""
    app = PaneApp()
    async with app.run_test(size=(40, 12)) as pilot:
        pane = app.query_one(StreamPane)
        pane.writing = True
        await pilot.pause()
        shown: list[Any] = []
        monkeypatch.setattr(app, "_display", lambda screen, update: shown.append(update))
        pane.feed("The kettle")
        draw_now([pane])
        assert "The kettle" in "".join(update.render_segments(app.console) for update in shown)
        shown.clear()
        await pilot.pause(0.05)
        assert not any(shown), "and it is drawn once"


async def test_new_rows_lay_nothing_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout costs more than drawing all panes, and every key waits for it."""
    app = PaneApp()
    async with app.run_test(size=(40, 12)) as pilot:
        pane = app.query_one(StreamPane)
        pane.writing = True
        await pilot.pause()
        layouts = []
        monkeypatch.setattr(app.screen, "_refresh_layout", lambda *args, **how: layouts.append(args))
        for n in range(100):
            pane.feed(f"row {n}\n")
            await pilot.pause()
        pane.writing = False
        await pilot.pause()
        assert "row 99" in screen_text(app) and layouts == []


async def test_the_bar_shows_where_one_is() -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 10)) as pilot:
        pane = app.query_one(StreamPane)
        pane.set_text("\n".join(f"row {n}" for n in range(20)), from_top=True)
        await pilot.pause()

        def bar() -> list[int]:
            return [n for n, line in enumerate(screen_text(app).split("\n")) if line.endswith("▐")]

        assert bar() == [0, 1, 2, 3, 4]
        pane.focus()
        await pilot.press("end")
        await pilot.pause()
        assert bar() == [5, 6, 7, 8, 9] and "row 19" in screen_text(app)
        pane.set_text("short")
        await pilot.pause()
        assert bar() == []
