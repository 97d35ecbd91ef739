"""The action registry is the truth: every row acts, no key is taken twice, help and palette say all of it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from textual.binding import Binding
from textual.widgets import Input

from studio.persona.folder import Persona
from studio.tui.actions import ACTIONS, actions_of
from studio.tui.app import StudioApp
from studio.tui.help import HelpScreen, help_lines
from studio.tui.pager import Pager
from studio.tui.table import ArrowTable, Table
from studio.tui.turns import Turns

from .places import press, screen_text, settled

SCREENS: dict[str, tuple[str, str, list[type]]] = {
    "app": ("studio.tui.app", "StudioApp", []),
    "welcome": ("studio.tui.screens.welcome", "WelcomeScreen", [Table]),
    "persona": ("studio.tui.screens.persona", "PersonaScreen", [Pager]),
    "lore": ("studio.tui.screens.lore", "LoreScreen", [Table]),
    "lore-reader": ("studio.tui.screens.lore_reader", "LoreReader", [Pager]),
    "lore-cleaning": ("studio.tui.screens.lore_cleaning", "CleaningScreen", [Table]),
    "dialogue": ("studio.tui.screens.dialogue", "DialogueScreen", [Table]),
    "dialogue-checks": ("studio.tui.screens.dialogue_checks", "ChecksScreen", [Table]),
    "dialogue-cleaning": ("studio.tui.screens.dialogue_cleaning", "PrivacyScreen", [Table]),
    "snapshots": ("studio.tui.screens.snapshots", "SnapshotsScreen", [Table]),
    "pairs": ("studio.tui.screens.pairs", "PairsScreen", [Table]),
    "pair": ("studio.tui.screens.pair", "PairScreen", [Turns]),
    "adding": ("studio.tui.screens.adding", "AddingScreen", [Pager]),
    "conversation": ("studio.tui.screens.conversation", "ConversationScreen", [Turns]),
    "reader": ("studio.tui.screens.reader", "ReaderScreen", [Pager]),
    "preview": ("studio.tui.screens.preview", "PreviewScreen", [Pager]),
    "train": ("studio.tui.screens.train", "TrainScreen", [Table]),
    "start": ("studio.tui.screens.start", "StartScreen", [Table]),
    "run": ("studio.tui.screens.run", "RunScreen", [Pager]),
    "compare": ("studio.tui.screens.compare", "CompareScreen", [Pager]),
    "probes": ("studio.tui.screens.probes", "ProbesScreen", [Pager]),
    "checkpoints": ("studio.tui.screens.checkpoints", "CheckpointsScreen", [Table]),
    "serve": ("studio.tui.screens.serve", "ServeScreen", [Table]),
    "chooser": ("studio.tui.screens.chooser", "ChooserScreen", [ArrowTable]),
    "review": ("studio.tui.review.screen", "ReviewScreen", []),
    "chat": ("studio.tui.chat.screen", "ChatScreen", []),
}
"""Module, class, and the widgets that have the focus there."""


def screen_class(name: str) -> Any:
    module, class_name, _ = SCREENS[name]
    return getattr(import_module(module), class_name)


def test_every_screen_of_the_registry_is_known_here() -> None:
    assert {action.screen for action in ACTIONS} == SCREENS.keys()


@pytest.mark.parametrize("name", SCREENS)
def test_every_row_has_its_method_and_is_bound_on_its_screen(name: str) -> None:
    shown = screen_class(name)
    for action in actions_of(name):
        assert callable(getattr(shown, f"action_{action.id.partition('(')[0]}", None)), f"{name} has no action_{action.id}"
        bound = {key.strip() for b in shown.BINDINGS if isinstance(b, Binding) and b.action == action.id for key in b.key.split(",")}
        assert set(action.keys.split(",")) <= bound, action.id


@pytest.mark.parametrize("name", SCREENS)
def test_no_key_is_taken_twice_on_a_screen(name: str) -> None:
    keys = [key for action in actions_of(name) for key in action.keys.split(",")]
    assert len(keys) == len(set(keys))
    everywhere = {key for action in actions_of("app") for key in action.keys.split(",")}
    if name not in ("app", "review"):  # in a review 1 and 2 vote; tabs are left by q
        assert not everywhere & set(keys)


@pytest.mark.parametrize("name", SCREENS)
def test_the_focused_widget_leaves_the_screens_keys_alone(name: str) -> None:
    for widget in SCREENS[name][2]:
        taken = set(widget._merged_bindings.key_to_bindings) if hasattr(widget, "_merged_bindings") and widget._merged_bindings else set()
        assert taken, widget
        assert not taken & {key for action in actions_of(name) for key in action.keys.split(",")}


@pytest.mark.parametrize("name", [*SCREENS, "help"])
def test_help_lists_every_action(name: str) -> None:
    text = "\n".join(line if isinstance(line, str) else "".join(part for part, _ in line) for line in help_lines(name))
    for action in ACTIONS:
        assert action.help in text
        if action.dangerous:
            assert f"{action.help} asks first" in text


async def test_help_opens_with_the_keys_of_the_screen_one_is_on(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test() as pilot:
        await settled(pilot)
        text = await press(pilot, "5", "question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert text.split("\n")[1].strip() == "Checkpoints (this screen)"
        assert "d            Delete a checkpoint that nothing was made from. asks first" in text
        await press(pilot, "escape")
        assert not isinstance(app.screen, HelpScreen)


async def test_the_palette_finds_and_does_an_action(persona: Persona) -> None:
    app = StudioApp(persona)
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "2", "ctrl+p")
        assert app.screen.query_one(Input).has_focus
        await pilot.press(*"snapshots")
        for _ in range(100):
            await pilot.pause(0.02)
            if "frozen builds of the lore" in screen_text(app):
                break
        assert "frozen builds of the lore" in screen_text(app)
        await pilot.press("enter")
        await settled(pilot)
        for _ in range(100):
            await pilot.pause(0.02)
            if "No snapshot of the lore yet" in screen_text(app):
                break
        assert "No snapshot of the lore yet" in screen_text(app)
