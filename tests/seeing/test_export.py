"""Numbers for other programs: read back with another reading of the format than the one that wrote it."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.jobs.runs import Inputs, append_event, create_run
from studio.persona.folder import Persona
from studio.seeing.export import export, masked, record

from .making import falling, story


def test_checksums_are_those_of_the_format() -> None:
    # RFC 3720 B.4: CRC-32C of 32 zero bytes is 8a9136aa; masked as TFRecord does.
    crc = 0x8A9136AA
    assert masked(bytes(32)) == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert record(b"") == bytes(8) + struct.pack("<II", masked(bytes(8)), masked(b""))


def values(file: Path) -> list[tuple[int, str, float]]:
    """Step, tag and value of every event with one, by hand from the bytes."""
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        message = data[at + 12 : at + 12 + length]
        at += 12 + length + 4
        assert message[0] == 0x09
        if message[9] == 0x1A:
            assert message[11:] == b"brain.Event:2"
            continue
        assert message[9] == 0x10
        step = shift = 0
        place = 10
        while True:
            step |= (message[place] & 0x7F) << shift
            shift, place = shift + 7, place + 1
            if not message[place - 1] & 0x80:
                break
        summary = message[place + 2 :]
        tag = summary[4 : 4 + summary[3]]
        found.append((step, tag.decode(), struct.unpack("<f", summary[-4:])[0]))
    return found


def test_a_run_for_tensorboard_and_others(persona: Persona, tmp_path: Path) -> None:
    run = create_run(persona, Inputs(stage="sft", persona=str(persona.root), parent="base", parent_path=""), "learning_rate = 0.1\n")
    with pytest.raises(StudioError, match="has measured nothing yet"):
        export(run, tmp_path / "out")
    for event in story(steps=300, val=((0, 4.0, None), (300, 2.5, 2.25)), more=[{"kind": "probes", "t": 9.0, "step": 300, "accuracy": 0.75}]):
        append_event(run.path, event["kind"], event["t"], **{k: v for k, v in event.items() if k not in ("kind", "t")})
    written = export(run, tmp_path / "out")
    files = {file.name.partition(".")[0] + file.suffix: file for file in written if "mlruns" not in file.parts}
    read = values(files["events.studio"])
    assert [(step, value) for step, tag, value in read if tag == "train/loss"] == [(s, pytest.approx(falling(s))) for s in range(1, 301)]
    assert (0, "eval/loss", 4.0) in read and (300, "probes/accuracy", 0.75) in read
    rows = [json.loads(line) for line in files["metrics.jsonl"].read_text().splitlines()]
    assert rows[0] == {"step": 0, "timestamp": 1.0, "eval/loss": 4.0} and rows[-1]["eval/gap"] == pytest.approx(1 / 9)
    table = list(csv.DictReader(files["metrics.csv"].open()))
    assert len(table) == 301 and float(table[300]["eval/loss"]) == 2.5
    assert json.loads(files["config.json"].read_text())["recipe"] == {"learning_rate": 0.1}

    # MLflow's folder, as its FileStore reads it: one of each below the experiment's; again exported, it is the same run.
    (place,) = {file.parent for file in written if file.parts[-3] != "mlruns" and file.name == "meta.yaml"}
    assert export(run, tmp_path / "out") == written and len(list(place.parent.iterdir())) == 2
    meta, experiment = (dict(line.split(": ", 1) for line in (at / "meta.yaml").read_text().splitlines()) for at in (place, place.parent))
    assert meta["run_id"] == f'"{place.name}"' and len(place.name) == 32 and meta["run_name"] == f'"{run.id}"'
    assert meta["experiment_id"] == experiment["experiment_id"] == f'"{place.parent.name}"' and experiment["name"] == f'"{persona.root.name}"'
    assert (place / "metrics" / "train" / "loss").read_text().splitlines()[299].split()[1:] == [repr(falling(300)), "300"]
    assert (place / "metrics" / "eval" / "loss").read_text() == "1000 4.0 0\n301000 2.5 300\n"
    assert (place / "params" / "learning_rate").read_text() == "0.1" and (place / "tags" / "stage").read_text() == "sft"
