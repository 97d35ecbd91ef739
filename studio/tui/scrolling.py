"""What the scrolled views share: how they look, and the keys that move in them."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from studio.tui.look import KIND_CSS


def scrolled_css(name: str) -> str:
    """The style of a widget of that name: as high as there is room, scrolled by lines, its kinds of text as everywhere."""
    return f"{name} {{ height: 1fr; overflow-x: hidden; overflow-y: auto; background: transparent; scrollbar-size-vertical: 1; {KIND_CSS} }}"


def moves(
    up: str = "up,k", down: str = "down,j", back: str = "pageup,ctrl+u", on: str = "pagedown,ctrl+d", letters: bool = True
) -> list[BindingType]:
    """Bindings of ``action_move`` (by lines), ``action_page`` (by screens) and ``action_jump`` (0: to the beginning, -1: to the end)."""
    return [
        Binding(up, "move(-1)", show=False),
        Binding(down, "move(1)", show=False),
        Binding(back, "page(-1)", show=False),
        Binding(on, "page(1)", show=False),
        Binding("home,g" if letters else "home", "jump(0)", show=False),
        Binding("end,G" if letters else "end", "jump(-1)", show=False),
    ]


PANES: list[BindingType] = [
    Binding("up", "scroll('scroll_up')", show=False),
    Binding("down", "scroll('scroll_down')", show=False),
    Binding("pageup", "scroll('page_up')", show=False),
    Binding("pagedown,space", "scroll('page_down')", show=False),
    Binding("home", "scroll('scroll_home')", show=False),
    Binding("end", "scroll('scroll_end')", show=False),
]
"""For a screen that scrolls its panes of replies by ``action_scroll``, all alike and whatever has the focus."""
