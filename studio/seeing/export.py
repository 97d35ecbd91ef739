"""A run as files of other programs: TensorBoard's event files, MLflow's folder, and JSON lines and CSV of metrics by step (trackio, pandas).

The event file is written here: a record is its length, a checksum of that, a protobuf message, a checksum of it. Four fields of two
messages are needed, too little to bring TensorBoard along for (https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto).
"""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from studio.errors import StudioError
from studio.files import write_atomic
from studio.jobs.runs import Run, read_events
from studio.seeing import mlflow
from studio.seeing.course import course

STEP_VALUES = {"loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/grad_norm", "tokens_per_s": "train/tokens_per_s"}
STEP_VALUES |= {"tokens": "train/tokens", "mfu": "train/mfu", "margin": "train/margin", "accuracy": "train/accuracy"}
EVAL_VALUES = {"val_loss": "eval/loss", "gap": "eval/gap", "val_margin": "eval/margin", "val_accuracy": "eval/accuracy"}


class Scalar(msgspec.Struct, frozen=True):
    step: int
    t: float
    """Unix seconds."""
    name: str
    value: float


def scalars(run: Run) -> list[Scalar]:
    """Every number of a run by step, under the names that training programs use."""
    seen = course(read_events(run.path))
    found: list[Scalar] = []

    def take(event: dict[str, Any], names: dict[str, str]) -> None:
        for key, name in names.items():
            if isinstance(event.get(key), int | float):
                found.append(Scalar(event["step"], float(event.get("t", 0)), name, float(event[key])))

    for event in seen.steps:
        take(event, STEP_VALUES)
    for event in seen.evals:
        take(event, EVAL_VALUES)
    for event in seen.probes:
        flat = {"accuracy": event.get("accuracy"), "overlap": event.get("overlap")}
        flat |= {f"{kind}_{half}": value for kind in ("surprise", "recited") for half, value in (event.get(kind) or {}).items()}
        take({**flat, "step": event["step"], "t": event.get("t", 0)}, {key: f"probes/{key}" for key in flat})
    return sorted(found, key=lambda scalar: (scalar.step, scalar.t))


def export(run: Run, folder: Path) -> list[Path]:
    """``<folder>/<run>/``: ``events.out.tfevents.…`` for TensorBoard, ``metrics.jsonl``, ``metrics.csv``, ``config.json`` (the recipe); and
    ``<folder>/mlruns/`` for MLflow.

    Returns what was written. StudioError if there is nothing to write, or no place for it.
    """
    numbers = scalars(run)
    if not numbers:
        raise StudioError(f"{run.id} has measured nothing yet; there is nothing to export.")
    place = folder / run.id
    recipe = msgspec.toml.decode(run.recipe_text)
    by_step: dict[int, dict[str, Any]] = {}
    for scalar in numbers:
        by_step.setdefault(scalar.step, {"step": scalar.step, "timestamp": scalar.t})[scalar.name] = scalar.value
    names = ["step", "timestamp", *dict.fromkeys(scalar.name for scalar in numbers)]
    table = io.StringIO()
    writer = csv.DictWriter(table, names)
    writer.writeheader()
    writer.writerows(by_step.values())
    began = int(numbers[0].t)
    files = {
        f"events.out.tfevents.{began}.studio": b"".join(records(numbers)),
        "metrics.jsonl": b"".join(msgspec.json.encode(row) + b"\n" for row in by_step.values()),
        "metrics.csv": table.getvalue().encode(),
        "config.json": msgspec.json.format(msgspec.json.encode({"run": run.id, "inputs": run.inputs, "recipe": recipe})) + b"\n",
    }
    written = {place / name: content for name, content in files.items()} | mlflow.files(run, numbers, recipe, folder)
    for path, content in written.items():
        write_atomic(path, content)
    return list(written)


def said(run: Run, folder: Path) -> list[str]:
    """What lies there now and how other programs open it, in words."""
    return [
        f"{run.id}: JSON lines, CSV (trackio, pandas), recipe in {folder / run.id}.",
        f"TensorBoard: tensorboard --logdir {folder}",
        f"MLflow: mlflow migrate-filestore --source {folder} --target sqlite:///mlflow.db (older ones read mlruns itself)",
    ]


def records(numbers: list[Scalar]) -> Iterator[bytes]:
    """TensorBoard's records: the version first, then one for each number."""
    yield record(_double(1, numbers[0].t if numbers else 0.0) + _bytes(3, b"brain.Event:2"))
    for scalar in numbers:
        value = _bytes(1, scalar.name.encode()) + _key(2, 5) + struct.pack("<f", scalar.value)
        yield record(_double(1, scalar.t) + _key(2, 0) + _varint(scalar.step) + _bytes(5, _bytes(1, value)))


def record(message: bytes) -> bytes:
    length = struct.pack("<Q", len(message))
    return length + struct.pack("<I", masked(length)) + message + struct.pack("<I", masked(message))


def masked(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> list[int]:
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ 0x82F63B78 if byte & 1 else byte >> 1
        found.append(byte)
    return found


_TABLE = _table()


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _double(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value
