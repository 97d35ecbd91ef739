"""A run as MLflow keeps it in files: ``mlruns/<experiment>/<run>/`` with its metrics, parameters and tags (its ``FileStore``, read here by 3.17.2,
which wants it brought into a database first: ``mlflow migrate-filestore``).

A persona is an experiment. Names are fixed by persona and run, so that exporting again replaces what stood there.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from studio.jobs.runs import CANCELLED, DONE, PAUSED, QUEUED, RUNNING, Run

if TYPE_CHECKING:
    from studio.seeing.export import Scalar

STATUS = {RUNNING: 1, QUEUED: 2, PAUSED: 2, DONE: 3, CANCELLED: 5}
"""MLflow's numbers: running, scheduled, finished, killed; the rest has failed."""
FAILED = 4
LOCAL = 4
"""MLflow's number for what was run on somebody's machine."""


def files(run: Run, numbers: list[Scalar], recipe: dict[str, Any], root: Path) -> dict[Path, bytes]:
    """What ``root``/mlruns holds of a run, by path."""
    persona = Path(run.inputs.persona)
    experiment = str(int(sha256(str(persona).encode()).hexdigest()[:15], 16))
    identity = sha256(f"{persona}/{run.id}".encode()).hexdigest()[:32]
    store = root / "mlruns" / experiment
    place = store / identity
    began, ended = (round(1000 * seconds) for seconds in (numbers[0].t, run.status.ended or numbers[-1].t))
    found = {
        store / "meta.yaml": yaml(
            artifact_location=store.absolute().as_uri(),
            creation_time=began,
            experiment_id=experiment,
            last_update_time=ended,
            lifecycle_stage="active",
            name=persona.name,
        ),
        place / "meta.yaml": yaml(
            artifact_uri=(place / "artifacts").absolute().as_uri(),
            end_time=ended,
            entry_point_name="",
            experiment_id=experiment,
            lifecycle_stage="active",
            run_id=identity,
            run_name=run.id,
            run_uuid=identity,
            source_name="persona studio",
            source_type=LOCAL,
            source_version="",
            start_time=began,
            status=STATUS.get(run.status.state, FAILED),
            tags=[],
            user_id="",
        ),
        place / "artifacts" / "recipe.toml": run.recipe_text.encode(),
    }
    tags = {"mlflow.runName": run.id, "mlflow.source.name": "persona studio", "mlflow.note.content": run.status.message}
    tags |= {name: str(getattr(run.inputs, name)) for name in ("stage", "base", "parent", "snapshot")}
    found |= {place / "tags" / name: value.encode() for name, value in tags.items() if value}
    found |= {place / "params" / name: str(value).encode() for name, value in recipe.items()}
    by_name: dict[str, list[Scalar]] = {}
    for scalar in numbers:
        by_name.setdefault(scalar.name, []).append(scalar)
    for name, scalars in by_name.items():
        found[place / "metrics" / name] = "".join(f"{round(1000 * one.t)} {one.value!r} {one.step}\n" for one in scalars).encode()
    return found


def yaml(**values: Any) -> bytes:
    """Each value as JSON, which YAML reads as well."""
    return b"".join(name.encode() + b": " + msgspec.json.encode(value) + b"\n" for name, value in values.items())
