"""The command palette: every action of the registry that can be done on this screen."""

from __future__ import annotations

from functools import partial

from textual.app import App
from textual.command import DiscoveryHit, Hit, Hits, Provider

from studio.tui.actions import Action, actions_of, shown_key


class Actions(Provider):
    def _rows(self) -> list[Action]:
        rows_of = getattr(self.screen, "rows_of", "")
        return [action for action in (*actions_of(rows_of), *actions_of("app")) if action.id != "command_palette"]

    async def _do(self, action: Action) -> None:
        target: App[object] | object = self.app if action.screen == "app" else self.screen
        await self.app.run_action(action.id, target)  # type: ignore[arg-type]

    async def discover(self) -> Hits:
        for action in self._rows():
            yield DiscoveryHit(_label(action), partial(self._do, action), help=action.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for action in self._rows():
            text = f"{_label(action)} {action.help}"
            if (score := matcher.match(text)) > 0:
                yield Hit(score, _label(action), partial(self._do, action), help=action.help)


def _label(action: Action) -> str:
    return f"{action.help.split(':')[0] if not action.label else action.label}  {shown_key(action)}"
