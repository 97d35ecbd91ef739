"""The ranking as it stands on a terminal: every page, at the two sizes people use, with long and Chinese names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.app import App

from studio.errors import StudioError
from studio.persona.folder import Persona, create
from studio.review.report import write_report
from studio.review.rounds import all_reviews, open_review
from studio.review.standing import Standing, standing
from studio.tui.app import StudioApp
from studio.tui.look import DARK, spans, wrap
from studio.tui.review.ranking import PAGES, RankingPanel, page
from studio.tui.review.screen import ReviewScreen
from tests.review.making import add_checkpoint, voted

from .places import golden, press, settled

SIZES = {"80x24": (80, 24), "160x48": (160, 48)}
NAMES = ("base", "sft-2-e1-int4-rtn", "dpo-4-e2-暖炉边的鹅", "sft-2-e2")
TEXTS = ("I am here to help with that, always.", "Then sit. The stove is on.", "先坐。秤旁边最爱收东西。", "Which drawer?")


class Host(App[None]):
    def __init__(self, panel: RankingPanel) -> None:
        super().__init__()
        self.panel = panel

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = DARK.name
        self.push_screen(self.panel)

    def lines(self) -> list[str]:
        return ["".join(segment.text for segment in strip).rstrip() for strip in self.screen._compositor.render_strips()]


@pytest.fixture
def judged(tmp_path: Path) -> Persona:
    persona = create("温姐", parent=tmp_path)
    for name in NAMES[1:]:
        add_checkpoint(persona, name)
    review = open_review(persona, list(NAMES), seed=3, panes=3)
    for number in range(24):
        three = [(NAMES[(number + i) % 4], f"{TEXTS[(number + i) % 4]} {'tea ' * (number % 5)}") for i in (0, 1, 2)]
        best = next((str(n + 1) for n, (name, _) in enumerate(three) if name == NAMES[1 + number % 3]), "tie")
        verdict = "both_bad" if number % 7 == 6 else best
        prompt = f"我累了，第{number}次。" if number % 3 == 0 else f"Bad day, number {number}."
        vote = voted(persona, review, dict(three), verdict, prompt, ["too long"] if number % 5 == 0 else [])  # type: ignore[arg-type]
        if number % 8 == 0:
            voted(persona, review, dict([*three[1:], three[0]]), "1", prompt, repeat_of=vote.round)
    return persona


async def shown(app: Host, pilot: Any) -> list[str]:
    for _ in range(1000):
        if app.panel.ranked is not None:
            break
        await pilot.pause(0.01)
    await pilot.pause()
    await pilot.pause()
    return app.lines()


@pytest.mark.parametrize("size", SIZES)
async def test_pages(judged: Persona, size: str) -> None:
    app = Host(RankingPanel(lambda: standing(judged)))
    async with app.run_test(size=SIZES[size]) as pilot:
        await shown(app, pilot)
        for number, name in enumerate(PAGES, 1):
            await pilot.press(str(number))
            lines = await shown(app, pilot)
            assert max(map(cell_len, lines)) <= SIZES[size][0]
            golden(f"ranking-{name}-{size}", "\n".join(lines))
        await pilot.press("right")
        assert app.panel.page == PAGES[0]
        await pilot.press("left", "left")
        assert app.panel.page == PAGES[-2]
        await pilot.press("k")
        await pilot.pause()
        assert app.screen is not app.panel


def test_no_line_is_wider_than_its_page(judged: Persona) -> None:
    found = standing(judged)
    for width in (32, 40, 57, 72, 88, 100):
        for name in PAGES:
            for line in page(found, name, width):
                assert cell_len("".join(text for text, _ in spans(line))) <= width, (name, width)


def test_the_bars_share_one_scale(judged: Persona) -> None:
    found = standing(judged)
    drawn = [line for line in page(found, "ranking", 96) if not isinstance(line, str) and "●" in "".join(t for t, _ in line)]
    places = ["".join(text for text, _ in line).index("●") for line in drawn]
    assert len(places) == 4
    cells = [cell_len("".join(text for text, _ in line)[:at]) for line, at in zip(drawn, places, strict=True)]
    assert cells == sorted(cells, reverse=True), "the best stands on top and its dot furthest right"


async def test_no_votes_and_a_trouble_are_one_sentence(tmp_path: Path) -> None:
    persona = create("Wen", parent=tmp_path)
    app = Host(RankingPanel(lambda: standing(persona)))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "No blind vote has been cast yet" in "\n".join(await shown(app, pilot))

    def fails() -> Standing:
        raise StudioError("The votes cannot be read.")

    app = Host(RankingPanel(fails))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "The votes cannot be read." in "\n".join(await shown(app, pilot))


async def test_the_report_is_written_at_a_key(judged: Persona) -> None:
    review = all_reviews(judged)[-1]
    app = Host(RankingPanel(lambda: standing(judged), lambda: str(write_report(judged, review))))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "w: report" in "\n".join(await shown(app, pilot))
        await pilot.press("w")
        for _ in range(500):
            if "report.md" in "\n".join(app.lines()):
                break
            await pilot.pause(0.01)
    assert (judged.reviews / review.id / "report.md").read_text().startswith("# ")


async def test_the_company_is_measured_at_a_key(judged: Persona) -> None:
    """What is being done is told while it is done, and a trouble is one sentence."""
    asked: list[int] = []

    def measure(progress: Callable[[str], None]) -> None:
        asked.append(1)
        progress("base: lore question 1 of 10")
        if len(asked) > 1:
            raise StudioError("No engine runs for base.")

    app = Host(RankingPanel(lambda: standing(judged), measure=measure))
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(app, pilot)
        for sentence in ("The company is measured.", "No engine runs for base."):
            await pilot.press("m")
            for _ in range(500):
                if sentence in "\n".join(app.lines()):
                    break
                await pilot.pause(0.01)
            assert sentence in "\n".join(app.lines())


async def test_without_marks_the_newest_review_goes_on(judged: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReviewScreen, "find_engine", lambda self, names=(), start=True: None)
    newest = all_reviews(judged)[-1]
    app = StudioApp(judged)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert f"none marked: ⏎ goes on with {newest.id}, base, sft-2-e1-int4-rtn" in await press(pilot, "7")
        await press(pilot, "enter")
        review = app.screen
        assert isinstance(review, ReviewScreen)
        for _ in range(500):
            if review.state.sitting:
                break
            await pilot.pause(0.01)
        assert review.state.sitting and review.state.sitting.review.id == newest.id
    assert len(all_reviews(judged)) == 1


@pytest.mark.parametrize("width", [30, 44, 80])
def test_what_follows_a_label_goes_on_below_itself(width: int) -> None:
    label, text = "needs   ", "about 5.1 GB of memory and 温姐坐在炉边喝茶等着渡船 a while"
    rows = ["".join(part for part, _ in row) for row in wrap([(label, "muted"), (text, "plain")], width)]
    assert all(cell_len(row.rstrip()) <= width for row in rows)
    assert rows[0].startswith(label) and all(row.startswith(" " * len(label)) for row in rows[1:])
    assert "".join(row[len(label) :] for row in rows) == text
