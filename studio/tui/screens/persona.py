"""Screen 1: who she is, what there is, and what to do next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from textual.app import ComposeResult

from studio.errors import StudioError
from studio.home import known_personas
from studio.jobs.runs import FAILED, INTERRUPTED, RUNNING, Run
from studio.persona.folder import Persona, load_manifest, open_persona
from studio.text import count, one_line
from studio.tui.actions import bindings_of
from studio.tui.base import StudioScreen
from studio.tui.dialogs import Choice, Choose
from studio.tui.look import Line, ago, short_path
from studio.tui.pager import Pager
from studio.tui.pulse import Pulse


class Facts(NamedTuple):
    """What the screen shows, read in a thread."""

    persona: Persona
    base_here: bool
    lore_files: int
    lore_words: int
    lore_tokens: int | None
    rows: int
    pairs: int
    snapshots: dict[str, int]
    stale: list[str]
    """Kinds of material that changed after their newest snapshot."""
    checkpoints: list[str]
    """``stage`` of each but the base."""
    votes: int
    chats: int
    card: list[tuple[str, str]]
    """``(field, text)`` of the card."""
    activity: list[tuple[float, str]]
    """``(unix time, sentence)``, the newest first."""


def gather(persona: Persona) -> Facts:
    """Count what the persona has. Takes a moment for large lore; runs in a thread."""
    from studio.checkpoints.base import locate_base
    from studio.checkpoints.store import all_checkpoints
    from studio.dialogue.store import shards
    from studio.files import read_lines
    from studio.jobs.runs import all_runs
    from studio.lore.measuring import measure
    from studio.lore.sources import files
    from studio.persona.cards import read_card
    from studio.preference.store import shards as preference_shards
    from studio.snapshots import all_snapshots

    lore = measure(persona).files
    snapshots = all_snapshots(persona)
    made = all_checkpoints(persona)[1:]
    runs = all_runs(persona)
    activity: list[tuple[float, str]] = []
    for run in runs:
        activity.append((run.status.ended or run.status.started or run.status.created, f"{run.id} {run.status.state}"))
    for snapshot in snapshots:
        rows = f"{snapshot.train_rows:,} rows to train on, {snapshot.val_rows:,} held out"
        activity.append(((persona.snapshots / snapshot.id).stat().st_mtime, f"{snapshot.kind} snapshot built: {rows}"))
    for checkpoint in made:
        activity.append((Path(checkpoint.path).stat().st_mtime, f"checkpoint {checkpoint.id} made"))
    votes = sum(1 for _ in read_lines(persona.votes))
    if votes:
        activity.append((persona.votes.stat().st_mtime, f"the newest of {count(votes, 'vote')}"))
    material = {"lore": files(persona), "dialogue": shards(persona), "preference": preference_shards(persona)}
    newest = {kind: max((p.stat().st_mtime for p in paths), default=0.0) for kind, paths in material.items()}
    built = {s.kind: (persona.snapshots / s.id).stat().st_mtime for s in snapshots}
    card: list[tuple[str, str]] = []
    if persona.card.is_file():
        try:
            read = read_card(persona.card)
            card = [(f, read.fill(read.field(f), persona.manifest.character.user)) for f in ("description", "personality", "scenario", "first_mes")]
        except StudioError as error:
            card = [("problem", str(error))]
    return Facts(
        persona=persona,
        base_here=locate_base(persona.manifest.base) is not None,
        lore_files=len(lore),
        lore_words=sum(row.words for row in lore),
        lore_tokens=sum(row.tokens or 0 for row in lore) if lore and all(row.tokens is not None for row in lore) else None,
        rows=sum(_lines(shard) for shard in shards(persona)),
        pairs=sum(_lines(shard) for shard in preference_shards(persona)),
        snapshots={kind: sum(s.kind == kind for s in snapshots) for kind in ("lore", "dialogue", "preference")},
        stale=[kind for kind in newest if kind in built and newest[kind] > built[kind]],
        checkpoints=[c.stage for c in made],
        votes=votes,
        chats=sum(1 for _ in persona.chats.glob("*.jsonl")) if persona.chats.is_dir() else 0,
        card=[(field, text) for field, text in card if text.strip()],
        activity=sorted(activity, reverse=True)[:12],
    )


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def next_steps(facts: Facts, runs: list[Run], served: list[str]) -> list[str]:
    """What to do next, from what there is; the most useful first."""
    steps: list[str] = []
    active = [run for run in runs if run.status.state == RUNNING]
    broken = [run for run in runs if run.status.state in (FAILED, INTERRUPTED)]
    made = set(facts.checkpoints)
    if active:
        steps.append(f"Watch {active[0].id} learn: key 4, then Enter.")
    elif broken and broken[-1] is runs[-1]:
        steps.append(f"Look why {broken[-1].id} {broken[-1].status.state}: key 4, then Enter; r tries it again.")
    if not facts.base_here:
        steps.append(f"Bring the base here: press f (or: studio fetch {facts.persona.manifest.base}).")
    if not facts.lore_files:
        steps.append("Add lore, texts in her voice and about her world: key 2, then a.")
    if not facts.rows:
        steps.append("Add dialogue, conversations with her: key 3, then a.")
    for kind, key, there in (("lore", 2, facts.lore_files), ("dialogue", 3, facts.rows)):
        if there and not facts.snapshots[kind]:
            steps.append(f"Freeze the {kind} into a snapshot: key {key}, then b.")
        elif kind in facts.stale:
            steps.append(f"The {kind} changed since its snapshot; freeze it again: key {key}, then b.")
    if not active:
        if facts.snapshots["lore"] and "cpt" not in made:
            steps.append("Train on the lore (CPT): key 4, then c.")
        if facts.snapshots["dialogue"] and "sft" not in made:
            steps.append("Train on the dialogue (SFT): key 4, then s.")
        if facts.snapshots["preference"] and "sft" in made and not made & {"dpo", "orpo"}:
            steps.append("Train on the pairs (DPO): key 4, then d.")
    if "preference" in facts.stale or (facts.pairs and not facts.snapshots["preference"]):
        steps.append("The pairs are not frozen yet: key 4, then p (what is wrong in them: studio preference check).")
    if made and not served:
        steps.append("Serve a checkpoint and talk with her: key 5, s; then key 6, Enter.")
    if served:
        steps.append("Talk with her: key 6, then Enter.")
    if len(facts.checkpoints) >= 2:
        steps.append("Compare two checkpoints blind: key 7." if facts.votes < 20 else "See the ranking and vote on: key 7.")
    if "sft" in made and "quantize" not in made:
        steps.append("Make the best one smaller for serving: key 5, then z.")
    return steps[:5]


def describe(facts: Facts | None, persona: Persona, runs: list[Run], served: list[str], now: float) -> list[Line]:
    """The whole screen as lines."""
    character = persona.manifest.character
    lines: list[Line] = ["", [(one_line(persona.name), "strong"), (f"   {short_path(persona.root)}", "muted")]]

    def row(label: str, *parts: tuple[str, str]) -> None:
        lines.append([(f"{label:<12}", "muted"), *parts])

    row("character", (one_line(character.name), "plain"), (f", who talks with {one_line(character.user)}", "muted"))
    base = short_path(persona.manifest.base)
    if facts is None:
        row("base", (base, "plain"))
        return [*lines, "", [("Counting …", "muted")]]
    here = ("  ✓ on this machine", "good") if facts.base_here else ("  ✗ not on this machine yet (f brings it)", "warn")
    row("base", (base, "plain"), here)
    prompt = one_line(character.system_prompt)
    row("system", (prompt, "plain") if prompt else ("no system prompt, in training and chat alike", "muted"))
    lines.append("")
    tokens = (
        f", {facts.lore_tokens:,} tokens"
        if facts.lore_tokens is not None
        else (", tokens unknown until the base is here" if facts.lore_files else "")
    )
    row("lore", (f"{count(facts.lore_files, 'file')}, {count(facts.lore_words, 'word')}{tokens}" if facts.lore_files else "none yet", "plain"))
    row("dialogue", (count(facts.rows, "conversation") if facts.rows else "none yet", "plain"))
    if facts.pairs:
        row("preference", (count(facts.pairs, "pair"), "plain"))
    row("snapshots", (", ".join(f"{n} of {kind}" for kind, n in facts.snapshots.items() if n) or "none yet", "plain"))
    states = {state: sum(run.status.state == state for run in runs) for state in dict.fromkeys(run.status.state for run in runs)}
    row("runs", (", ".join(f"{n} {state}" for state, n in states.items()) or "none yet", "plain"))
    stages = {stage: facts.checkpoints.count(stage) for stage in dict.fromkeys(facts.checkpoints)}
    row("checkpoints", (", ".join(f"{n} {stage}" for stage, n in stages.items()) or "none yet", "plain"))
    row(
        "votes",
        (f"{facts.votes:,}" if facts.votes else "none yet", "plain"),
        (f"   {count(facts.chats, 'chat')} kept" if facts.chats else "", "muted"),
    )
    if steps := next_steps(facts, runs, served):
        lines += ["", [("What to do next", "strong")], *([("→ ", "accent"), (step, "plain")] for step in steps)]
    if facts.activity:
        lines += ["", [("Newest", "strong")]]
        for when, what in facts.activity[:6]:
            lines.append([(f"{ago(max(0.0, now - when)):>7}  ", "muted"), (one_line(what), "plain")])
    if facts.card:
        lines += ["", [("Card", "strong")]]
        for field, text in facts.card:
            name = {"first_mes": "first words"}.get(field, field)
            lines += [[(name, "muted")], text.strip(), ""]
    return lines


class PersonaScreen(StudioScreen):
    rows_of = "persona"
    BINDINGS = bindings_of("persona")

    def __init__(self) -> None:
        super().__init__()
        self.facts: Facts | None = None
        self.runs: list[Run] = []
        self.served: list[str] = []
        self.news_line = ""

    def body(self) -> ComposeResult:
        yield Pager(describe(None, self.persona, [], [], time.time()))

    def on_mount(self) -> None:
        self.query_one(Pager).focus()

    def refresh_data(self) -> None:
        persona = self.persona
        self.in_background(lambda: gather(persona), self._take)

    def _take(self, facts: Facts) -> None:
        self.facts = facts
        self._draw()

    def take_pulse(self, pulse: Pulse) -> None:
        self.served = [model for server in pulse.servers for model in server.models]
        states = [(run.id, run.status.state) for run in self.runs]
        self.runs = pulse.runs
        if states != [(run.id, run.status.state) for run in self.runs]:
            self.refresh_data()
        self._draw()

    def _draw(self) -> None:
        lines = describe(self.facts, self.persona, self.runs, self.served, time.time())
        if self.news_line:
            lines.insert(1, [(self.news_line, "accent")])
        self.query_one(Pager).show(lines)

    def why_not(self, action: str) -> str:
        if action == "fetch_base" and self.facts and self.facts.base_here:
            return f"The base {one_line(self.persona.manifest.base)} is on this machine already."
        return ""

    def action_edit_manifest(self) -> None:
        self.edit_outside(self.persona.root / "persona.toml", self._reload)

    def _reload(self) -> None:
        root = self.persona.root

        def take(persona: Persona) -> None:
            self.studio.persona = self.studio.heart.persona = persona
            self.refresh_data()

        self.in_background(lambda: open_persona(root), take)

    def action_fetch_base(self) -> None:
        if self.refused("fetch_base"):
            return
        from studio.checkpoints.fetch import fetch_base

        base, tell = self.persona.manifest.base, self.news(self._tell)
        self.in_background(lambda: fetch_base(base, tell), self._fetched, self._not_fetched)

    def _tell(self, text: str) -> None:
        self.news_line = text
        self._draw()

    def _fetched(self, path: Path) -> None:
        self.news_line = ""
        self.say(f"The base is here: {path}.")
        self.refresh_data()

    def _not_fetched(self, sentence: str) -> None:
        self.news_line = ""
        self.say(sentence, bad=True)
        self._draw()

    def action_open_other(self) -> None:
        self.in_background(other_personas, self._choose_other)

    def _choose_other(self, choices: list[Choice]) -> None:
        def chosen(key: str | None) -> None:
            if key == "":
                self.app.switch_mode("welcome")
            elif key is not None and Path(key) != self.persona.root:
                self.app.exit(Path(key))

        self.app.push_screen(Choose("Open which persona?", [*choices, Choice("", "New persona …", "name, base, or from the sample")]), chosen)


def other_personas() -> list[Choice]:
    """Every persona of this machine, the newest first; one whose manifest is damaged says so."""
    found = []
    for root in reversed(known_personas()):
        try:
            manifest = load_manifest(root)
            found.append(Choice(str(root), manifest.name, f"{short_path(manifest.base)}  {short_path(root)}"))
        except StudioError as error:
            found.append(Choice(str(root), root.name, "", str(error)))
    return found
