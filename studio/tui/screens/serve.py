"""Screen 6: engines and the servers that run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from textual.app import ComposeResult
from textual.widgets import Static

from studio.checkpoints.store import Checkpoint, all_checkpoints
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.tui.actions import bindings_of
from studio.tui.base import StudioScreen
from studio.tui.clipboard import copied, to_file_and_tmux
from studio.tui.dialogs import Choice, Choose, Confirm
from studio.tui.look import Line, content, short_path
from studio.tui.pulse import Pulse, Served
from studio.tui.screens.reader import ReaderScreen
from studio.tui.table import Column, Row, Table

LOG_BYTES = 256_000

METRICS_EVERY = 2.0
"""Seconds between two readings of the servers' own numbers, while this screen is shown."""
KEPT_READINGS = 5
"""The speed is told over so many readings: ten seconds."""
FILTERED = "filtered"
"""Behind the name of an engine that is to filter what it says."""


def engine_choices(persona: Persona, wanted: list[Checkpoint]) -> list[Choice]:
    """The engines of this machine, with what vLLM would do; one that is not there says how to get it. Runs in a thread."""
    from studio.engines import environment, starting

    found = environment.status()
    vllm, planned = "" if found.ready else f"{found.problem} Mend it with: studio doctor --fix", ""
    if not vllm:
        try:
            planned = " ".join(line for plan in starting.plans(persona, wanted).values() for line in plan.said())
        except StudioError as error:
            vllm = str(error)
    filters = "For others to talk to: personal data and the words of filter.toml are taken out of what it says."
    return [
        Choice("vllm", "vllm", f"fast, many replies at once. {planned}".rstrip(), vllm),
        Choice("embedded", "embedded", "always there; one process, slower, needs nothing installed"),
        Choice(f"vllm {FILTERED}", "vllm, filtered", filters, vllm),
        Choice(f"embedded {FILTERED}", "embedded, filtered", filters),
    ]


def start_and_wait(persona: Persona, wanted: list[Checkpoint], choice: str, tell: Callable[[str], None]) -> list[str]:
    """Start servers for the checkpoints that none serves yet and wait until they answer. Names of the checkpoints served."""
    from studio.engines.sharing import ensure_served

    engine, _, filtered = choice.partition(" ")
    return list(ensure_served(persona, wanted, engine, tell, filtered=bool(filtered))[0])


def ask_and_start(screen: StudioScreen, wanted: list[Checkpoint]) -> None:
    """Ask for the engine, start, and go to the serve screen. Used from the checkpoints too."""
    app = screen.studio

    def choose(choices: list[Choice]) -> None:
        ready = next((c.key for c in choices if not c.refused), "embedded")

        def chosen(choice: str | None) -> None:
            if choice:
                app.action_go("serve")
                app.call_after_refresh(lambda: _begin(app.screen, wanted, choice))

        names = ", ".join(c.id for c in wanted)
        screen.app.push_screen(Choose(f"Serve {names}. With which engine?", choices, ready, width=18), chosen)

    persona = screen.persona
    screen.in_background(lambda: engine_choices(persona, wanted), choose)


def _begin(screen: Any, wanted: list[Checkpoint], choice: str) -> None:
    if isinstance(screen, ServeScreen):
        screen.begin(wanted, choice)


class ServeScreen(StudioScreen):
    rows_of = "serve"
    BINDINGS = bindings_of("serve")

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[Served] = []
        self.news_: list[str] = []
        """What a starting server said, the newest last."""
        self.starting = ""
        self.counted = ""
        """What the servers count of themselves."""
        self.readings: dict[str, Any] = {}

    def body(self) -> ComposeResult:
        yield Table(
            [
                Column("checkpoint", 0, least=20, most=56),
                Column("state", 10),
                Column("engine", 9, keep=6),
                Column("address", 30, keep=4),
                Column("server", 14, keep=2),
            ],
            empty="Nothing is served: s starts an engine with checkpoints of your choice.",
        )
        yield Static(" ", id="message", classes="line", markup=False)

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.set_interval(METRICS_EVERY, self._count)

    def _count(self) -> None:
        if self.is_current and any((server.engine == "vllm" or server.filtered) and server.ready for server in self.servers):
            persona, readings = self.persona, self.readings
            self.in_background(lambda: metrics_line(persona, readings), self._counted)

    def _counted(self, line: str) -> None:
        self.counted = line
        self._fill()

    def take_pulse(self, pulse: Pulse) -> None:
        self.servers = pulse.servers
        self._fill()

    def _fill(self) -> None:
        rows = []
        for server in self.servers:
            for model in server.models:
                state = ("… loading", "warn") if not server.ready else ("▲ filters", "accent") if server.filtered else ("▲ ready", "good")
                rows.append(Row(f"{server.name}\n{model}", (model, state, server.engine, (server.base_url, "muted"), (server.name, "muted"))))
        shown = {row.key.partition("\n")[2] for row in rows}
        rows += [Row(f"\n{name}", (name, ("… starting", "warn"))) for name in self.starting.split(", ") if name and name not in shown]
        self.query_one(Table).fill(rows)
        lines: list[Line] = [[(text, "muted")] for text in self.news_[-3:]] or [[(" ", "plain")]]
        if self.counted and self.servers:
            lines = [*lines[-2:], [(self.counted, "accent")]]
        self.query_one("#message", Static).update(content(*lines))

    def selected(self) -> tuple[Served, str] | None:
        key = self.query_one(Table).key if self.is_mounted else None
        name, _, model = (key or "").partition("\n")
        return next(((s, model) for s in self.servers if s.name == name), None)

    def why_not(self, action: str) -> str:
        if self.studio.readonly and action in ("start", "stop", "add", "remove"):
            return "The app was opened to read only."
        if action == "start":
            return f"{self.starting} is being started." if self.starting else ""
        at = self.selected()
        if at is None:
            return "It is still starting." if self.starting else "Nothing is served yet: s starts an engine."
        if action in ("chat", "add", "remove") and not at[0].ready:
            return f"{at[1]} is still loading."
        if action in ("add", "remove") and at[0].engine != "vllm":
            return f"{at[0].name} is the embedded engine: it reads its checkpoints when it starts. Adapters come and go on vLLM."
        return ""

    def action_start(self) -> None:
        if self.refused("start"):
            return
        persona = self.persona
        self.in_background(lambda: all_checkpoints(persona), self._choose)

    def _choose(self, found: list[Checkpoint]) -> None:
        by_id = {c.id: c for c in found}
        marked = [key for key in self.studio.marked if key in by_id]
        choices = [Choice("*", f"◉ {len(marked)} marked", ", ".join(marked))] if len(marked) > 1 else []
        for c in reversed(found):
            here = "" if c.path else "the base is not on this machine yet: key 1, then f"
            choices.append(Choice(c.id, c.id, c.scheme or (short_path(c.name) if c.stage == "base" else f"{c.stage} of {c.parent}"), here))

        def chosen(key: str | None) -> None:
            if key:
                ask_and_start(self, [by_id[m] for m in marked] if key == "*" else [by_id[key]])

        self.app.push_screen(Choose("Serve which checkpoint? (several: mark them with space on screen 5)", choices, width=30), chosen)

    def begin(self, wanted: list[Checkpoint], choice: str) -> None:
        """Start an engine; its progress is told below the table. ``choice``: one of ``engine_choices``."""
        if self.refused("start"):
            return
        persona = self.persona
        self.starting = ", ".join(c.id for c in wanted)
        self.news_ = [f"Starting {choice.replace(' ', ', ')} with {self.starting} …"]
        self._fill()
        tell = self.news(self._tell)
        self.in_background(lambda: start_and_wait(persona, wanted, choice, tell), self._ready, self._not_ready)

    def _tell(self, text: str) -> None:
        self.news_.append(text)
        self._fill()

    def _ready(self, names: list[str]) -> None:
        self.starting = ""
        self.news_ = [f"{', '.join(names)}: ready. Enter: chat, y: address and key."]
        self.studio.heart.beat()
        self._fill()

    def _not_ready(self, sentence: str) -> None:
        self.starting = ""
        self.news_ = [f"✗ {sentence}"]
        self.say(sentence, bad=True)
        self.studio.heart.beat()
        self._fill()

    def action_chat(self) -> None:
        at, persona = self.selected(), self.persona
        if self.refused("chat") or at is None:
            return

        def real() -> Any:
            return server_named(persona, at[0].name)

        def open_chat(server: Any) -> None:
            try:
                from studio.tui.chat.screen import ChatScreen
            except ImportError:
                self.say("The chat screen is not part of this installation.", bad=True)
                return
            self.app.push_screen(ChatScreen(persona, server, at[1]))

        self.in_background(real, open_chat)

    def action_copy(self) -> None:
        at, persona = self.selected(), self.persona
        if self.refused("copy") or at is None:
            return
        self.in_background(lambda: address_and_key(persona, at[0]), self._copied)

    def _copied(self, text: str) -> None:
        served, _ = self.selected() or (None, "")
        file = self.persona.private / "address.txt"

        def done(tmux: bool) -> None:
            self.app.copy_to_clipboard(text)
            self.say(copied(f"Address and key of {served.name if served else 'the server'}", tmux, file))

        self.in_background(lambda: to_file_and_tmux(text, file), done)

    def action_lines(self) -> None:
        at, persona = self.selected(), self.persona
        if not self.refused("lines") and at:
            name = at[0].name
            self.app.push_screen(ReaderScreen([(f"Lines to paste for {name}", "strong")], lambda: paste_lines(persona, name, at[1])))

    def action_add(self) -> None:
        at, persona = self.selected(), self.persona
        if self.refused("add") or at is None:
            return

        def choices() -> list[Choice]:
            server = server_named(persona, at[0].name)
            return [
                Choice(c.id, c.id, f"{c.stage} of {c.parent}", hot.why_not(persona, server, c))
                for c in all_checkpoints(persona)
                if c.kind == "adapter" and c.id not in server.models
            ]

        def load(key: str) -> str:
            return hot.add(persona, next(c for c in all_checkpoints(persona) if c.id == key)).name

        def asked(found: list[Choice]) -> None:
            def chosen(key: str | None) -> None:
                if key:
                    self.in_background(lambda: load(key), lambda name: self._changed(f"{key} is served by {name} too, without a restart."))

            if found:
                self.app.push_screen(Choose(f"Load which adapter into {at[0].name}?", found, width=30), chosen)
            else:
                self.say("There is no other adapter here.")

        from studio.engines import hot

        self.in_background(choices, asked)

    def action_remove(self) -> None:
        at, persona = self.selected(), self.persona
        if self.refused("remove") or at is None:
            return
        from studio.engines import hot

        model = at[1]
        self.in_background(lambda: hot.remove(persona, model).name, lambda name: self._changed(f"{model} is out of {name}, which goes on."))

    def _changed(self, said: str) -> None:
        self.news_ = [said]
        self.studio.heart.beat()
        self._fill()

    def action_log(self) -> None:
        at, persona = self.selected(), self.persona
        if not self.refused("log") and at:
            self.app.push_screen(ReaderScreen([(f"Log of {at[0].name}", "strong")], lambda: server_log(persona, at[0]), at_end=True))

    def action_stop(self) -> None:
        at, persona = self.selected(), self.persona
        if self.refused("stop") or at is None:
            return
        served = at[0]

        def answered(yes: bool | None) -> None:
            if yes:
                self.news_ = [f"Stopping {served.name} …"]
                self._fill()
                self.in_background(lambda: stop_server(persona, served.name), self._stopped)

        self.app.push_screen(Confirm(f"Stop {served.name}, which serves {', '.join(served.models)}? Running replies end.", "stop it"), answered)

    def _stopped(self, name: str) -> None:
        self.news_ = [f"{name} is stopped; its memory is free again."]
        self.studio.heart.beat()
        self._fill()


def server_named(persona: Persona, name: str) -> Any:
    from studio.engines import servers

    for server in servers.running(persona):
        if server.name == name:
            return server
    raise StudioError(f"The server {name} does not run any more; s starts another.")


def stop_server(persona: Persona, name: str) -> str:
    from studio.engines import servers

    servers.stop(server_named(persona, name))
    return name


def address_and_key(persona: Persona, served: Served) -> str:
    """What SillyTavern and curl want: the address, the key, the model names."""
    from studio.engines import servers

    server = server_named(persona, served.name)
    key = servers.key_file(server).read_text(encoding="utf-8").strip()
    return f"{served.base_url}\n{key}\n{' '.join(server.models.values())}\n"


def paste_lines(persona: Persona, name: str, model: str) -> list[Line]:
    """What to paste into other programs, the key left in its file."""
    from studio.engines import lines

    found: list[Line] = []
    for program, text in lines.lines(server_named(persona, name), model):
        found += [[(program, "strong")], *text.split("\n"), ""]
    return found


def metrics_line(persona: Persona, before: dict[str, Any]) -> str:
    """How the servers do that count what they do or take out; ``before`` keeps the readings the speed is told from."""
    from studio.engines import filtered, metrics, servers

    told = []
    for server in servers.running(persona):
        if server.state != "ready":
            continue
        if now := metrics.read(server):
            kept = [*before.get(server.name, []), now][-KEPT_READINGS:]
            before[server.name] = kept
            told.append(f"{server.name}: {metrics.said(kept)}")
        if server.filtered:
            told.append(f"{server.name} {filtered.said(filtered.counts(server.path))}")
    return "   ".join(told)


def server_log(persona: Persona, served: Served) -> list[Line]:

    path = server_named(persona, served.name).path / "log.txt"
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        raise StudioError(f"The log {path} cannot be read: {error.strerror}.") from error
    return list(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
