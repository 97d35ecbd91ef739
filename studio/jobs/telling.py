"""A run's events in words, the same in both faces."""

from __future__ import annotations

from typing import Any

from studio.jobs.runs import RUNNING
from studio.text import size

GAP_ALARM = 0.10
"""Train and validation loss should stay within 10 % of each other (reference workflow); above it she starts to recite."""


def event_line(event: dict[str, Any]) -> str:
    """An event as one line for people; empty for those that only charts need."""
    match event["kind"]:
        case "phase":
            return str(event.get("name", ""))
        case "data":
            left_out = ", ".join(f"{n} {why}" for why, n in event.get("dropped", {}).items())
            rows = f"{event.get('train_rows', 0):,} rows, {event.get('kept_tokens') or event.get('tokens') or 0:,} tokens"
            return (
                rows
                + (f", {event['loss_tokens']:,} learned from" if event.get("loss_tokens") else "")
                + (f"; dropped: {left_out}" if left_out else "")
            )
        case "plan" if "scheme" in event:
            return f"{event.get('parameters') or 0:,} parameters to {event['scheme']}"
        case "plan":
            return f"{event.get('steps'):,} steps, {event.get('trainable') or 0:,} of {event.get('parameters') or 0:,} parameters trained"
        case "eval":
            gap = event.get("gap")
            note = "" if gap is None else f", gap {gap:+.1%}" + (" OVER 10 %" if gap > GAP_ALARM else "")
            trained = f", train {event['train_loss']:.3f}" if event.get("train_loss") is not None else ""
            won = f", {event['val_accuracy']:.0%} of the pairs won by {event['val_margin']:+.3f}" if "val_margin" in event else ""
            return f"step {event['step']}: val {event['val_loss']:.3f}{trained}{note}{won}"
        case "probes":
            return probes_line(event)
        case "replies":
            return f"{event.get('done')} of {event.get('total')} replies are written"
        case "layers":
            return f"{event.get('done')} of {event.get('total')} layers"
        case "herself":
            return f"{event.get('checkpoint')} against {event.get('against')}: {event.get('verdict')}; {event.get('why')}"
        case "checkpoint":
            return f"checkpoint {event.get('id')} ({size(event.get('bytes') or 0)})"
        case "served":
            return f"{event.get('checkpoint')} is served by {event.get('server')} at {event.get('url')}"
        case "gave_way":
            return f"{event.get('server')} was stopped for this run and comes back when the device is free"
        case "came_back":
            return f"{event.get('server')} is started again with the same checkpoints"
        case "warning":
            return f"! {event.get('text')}"
        case "room":
            return f"there is room again ({size(event.get('bytes') or 0)} free): it goes on"
        case "resume":
            return f"resumed at step {event.get('step')}"
        case "ended_early":
            return str(event.get("text"))
        case "stopping":
            return f"stopping: {event.get('reason')}"
        case "state":
            return str(event.get("message") or "") if event.get("state") != RUNNING else ""
    return ""


def probes_line(event: dict[str, Any]) -> str:
    """``step 40: probes: 3 of 4 lore questions right, surprise 2.31, recites 12 % of seen and 3 % of unseen lines``."""
    parts = [f"{len(event.get('replies') or [])} answers"] if event.get("replies") else []
    if event.get("accuracy") is not None:
        parts.append(f"{round(event['accuracy'] * event['asked'])} of {event['asked']} lore questions right")
    if event.get("surprise", {}).get("val") is not None:
        parts.append(f"surprise at unseen lines {event['surprise']['val']:.2f}")
    recited = event.get("recited") or {}
    if recited.get("train") is not None:
        parts.append(f"recites {recited['train']:.0%} of seen" + (f" and {recited['val']:.0%} of unseen lines" if "val" in recited else " lines"))
    return f"step {event['step']}: probes: {', '.join(parts)}"
