"""What the checkpoint, review and serve screens share: the tree as table rows, and marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from studio.checkpoints import herself
from studio.checkpoints.store import Checkpoint, tree
from studio.jobs.telling import GAP_ALARM
from studio.text import one_line, size
from studio.tui.look import Line, Span, short_path
from studio.tui.table import Column, Row

COLUMNS = (
    Column("checkpoint", 0, least=28, most=56, raw=True),
    Column("stage", 12, keep=7),
    Column("val loss", 8, right=True, keep=8),
    Column("gap", 9, right=True, keep=6),
    Column("herself", 9, keep=4),
    Column("size", 9, right=True, keep=5),
    Column("made", 16, keep=3),
)


def branches(found: Sequence[Checkpoint]) -> list[tuple[str, Checkpoint]]:
    """``("│  └─ ", checkpoint)`` in drawing order."""
    drawn = tree(list(found))
    rows = []
    for index, (depth, checkpoint) in enumerate(drawn):
        lead = ""
        for level in range(1, depth + 1):
            more = False
            for later, _ in drawn[index + 1 :]:
                if later <= level:
                    more = later == level
                    break
            lead += ("├─ " if more else "└─ ") if level == depth else ("│  " if more else "   ")
        rows.append((lead, checkpoint))
    return rows


def tree_rows(found: Sequence[Checkpoint], marked: Sequence[str], served: Sequence[str] = ()) -> list[Row]:
    """The family tree as rows: ``◉`` is marked, ``▲`` is being served."""
    rows = []
    for lead, c in branches(found):
        gap = c.metrics.get("gap")
        over = gap is not None and gap > GAP_ALARM
        name = f"{'◉' if c.id in marked else '·'} {lead}{c.id}{' ▲' if c.id in served else ''}"
        here = c.stage != "base" or bool(c.path)
        rows.append(
            Row(
                c.id,
                (
                    (name, "accent" if c.id in marked else "plain" if here else "muted"),
                    c.scheme or (f"{c.stage} lora" if c.kind == "adapter" else c.stage),
                    f"{c.metrics['val_loss']:.3f}" if "val_loss" in c.metrics else "",
                    (f"{gap:+.1%}{' !' if over else ''}" if gap is not None else "", "bad" if over else "plain"),
                    _verdict(c),
                    size(c.metrics["bytes"]) if "bytes" in c.metrics else "",
                    (c.created[:16].replace("T", " ") if c.created else ("" if here else "not here yet"), "muted"),
                ),
            )
        )
    return rows


def _verdict(c: Checkpoint) -> Span:
    """Whether she is still herself, where that was measured of a quantized or merged one."""
    said = herself.verdict(c.metrics)
    return (f"{herself.SIGNS[said.word]} {said.word}", LOOKS[said.word]) if said else ("", "plain")


LOOKS = {"herself": "good", "changed": "warn", "broken": "bad"}


def herself_lines(c: Checkpoint) -> list[Line]:
    """The comparison with its parent: verdict, measures, and what both replied."""
    said = herself.verdict(c.metrics)
    comparison = herself.read_comparison(Path(c.path))
    if said is None or comparison is None:
        return [[("Not measured yet.", "muted")]]
    lines: list[Line] = [[(f"{herself.SIGNS[said.word]} {said.word}", LOOKS[said.word]), (f": {said.why}", "plain")], ""]
    for what, value, good in herself.rows(comparison.metrics):
        lines.append([(f"{what:<24}", "muted"), (f"{value:<36}", "plain"), (f"  {good}" if good else "", "muted")])
    lines += ["", [(f"Measured on {comparison.material}.", "muted")]]
    if comparison.replies:
        lines += ["", [("Without any chance in it", "strong")]]
    for reply in comparison.replies:
        where = "the same" if reply.same else f"parts at token {reply.parts_at}"
        lines += [
            "",
            [("you      ", "muted"), (one_line(reply.prompt), "plain")],
            [(f"{comparison.against}: ", "muted"), (one_line(reply.before), "plain")],
        ]
        lines.append([(f"{c.id}: ", "muted"), (one_line(reply.after), "plain"), (f"   {where}", "muted")])
    return lines


def card_lines(c: Checkpoint) -> list[Line]:
    """Everything known of a checkpoint."""
    lines: list[Line] = []

    def row(label: str, value: str) -> None:
        if value:
            lines.append([(f"{label:<12}", "muted"), (value, "plain")])

    row("name", short_path(c.name))
    row("stage", c.scheme or c.stage)
    row("kind", {"full": "all weights", "adapter": f"a LoRA adapter on {c.parent}"}.get(c.kind, c.kind))
    row("parent", c.parent)
    row("base", short_path(c.base))
    row("made", c.created[:19].replace("T", " ") + " UTC")
    row("run", c.run)
    row("snapshot", c.snapshot)
    row("tokens seen", f"{c.tokens_seen:,}" if c.tokens_seen else "")
    if c.kind == "external":
        row("address", c.path)
        row("left aside", ", ".join(_left_aside(c)))
    else:
        row("folder", short_path(c.path) or "not on this machine")
    if c.metrics:
        lines += ["", [("Measured", "strong")]]
        for key, value in c.metrics.items():
            over = key == "gap" and value > GAP_ALARM
            words = size(value) if key == "bytes" or key.endswith("_bytes") else f"{value:+.1%}" if key == "gap" else f"{value:,.4g}"
            lines.append([(f"{key:<20}", "muted"), (words + ("  OVER 10 %: she recites" if over else ""), "bad" if over else "plain")])
    if c.recipe.strip():
        lines += ["", [("Recipe", "strong")], *c.recipe.strip().split("\n")]
    if c.digests:
        lines += ["", [("sha256", "strong")], *([(f"{digest[:16]}…  ", "muted"), (name, "plain")] for name, digest in c.digests.items())]
    return lines


def _left_aside(c: Checkpoint) -> list[str]:
    """Settings that an outside endpoint does not obey; it is asked what it is, at most five seconds."""
    import asyncio

    from studio.engines.client import left_aside
    from studio.engines.servers import external

    return asyncio.run(left_aside(external(c.path, {c.id: c.name}, name=c.id)))


def toggle(marked: list[str], key: str, most: int = 8) -> str:
    """Mark or unmark in place; a sentence if that is one too many."""
    if key in marked:
        marked.remove(key)
    elif len(marked) >= most:
        return f"{most} are marked already; unmark one first."
    else:
        marked.append(key)
    return ""
