"""``config.toml`` in the studio's home folder: what the person of this machine wants, for all personas."""

from __future__ import annotations

import msgspec

from studio.errors import StudioError
from studio.home import home


class Gpu(msgspec.Struct, forbid_unknown_fields=True):
    give_way: bool = False
    """Servers of the studio stop for a training run and come back after it. ``--give-way`` says it for one run."""
    foreign: str = "wait"
    """What a run does while somebody else's process computes on the GPU: ``wait`` or ``ignore``."""


class Notify(msgspec.Struct, forbid_unknown_fields=True):
    bell: bool = True
    """The terminal's bell in the app when a run ends."""
    command: list[str] = []
    """Program and arguments started when a run ends; it gets the facts in its environment (``STUDIO_RUN_ID``, ``STUDIO_STATE`` …)."""


class Jobs(msgspec.Struct, forbid_unknown_fields=True):
    launcher: list[str] = []
    """What a stage is started with, the run folder added at the end. Empty: this Python, ``-m studio.stages``."""


class Slurm(msgspec.Struct, forbid_unknown_fields=True):
    use: bool = False
    """Trainings, merges and quantizations are handed to Slurm unless ``--on here`` says otherwise; ``--on slurm`` says it for one run."""
    options: list[str] = []
    """Further options of sbatch: ``["--partition=gpu", "--time=24:00:00"]``."""
    gpus: str = "--gres=gpu:{devices}"
    """How sbatch is asked for the cards of a run; empty where there are none to ask for."""
    setup: list[str] = []
    """Lines of shell before the run starts on its node: ``["module load cuda"]``."""


class Nearest(msgspec.Struct, forbid_unknown_fields=True):
    model: str = ""
    """By which the training rows nearest in meaning are found: a folder, ``pocket`` or a hub id. Asked for in the app while empty."""


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    gpu: Gpu = msgspec.field(default_factory=Gpu)
    notify: Notify = msgspec.field(default_factory=Notify)
    jobs: Jobs = msgspec.field(default_factory=Jobs)
    slurm: Slurm = msgspec.field(default_factory=Slurm)
    nearest: Nearest = msgspec.field(default_factory=Nearest)


def settings() -> Settings:
    """The settings as the file says; the defaults without one. StudioError if it cannot be read."""
    path = home() / "config.toml"
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Settings)
    except FileNotFoundError:
        return Settings()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{path} is not valid ({error}); mend the line or remove it.") from error
    if found.gpu.foreign not in ("wait", "ignore"):
        raise StudioError(f"{path}: gpu.foreign is {found.gpu.foreign!r}; it may be wait or ignore.")
    return found
