"""The executor that hands runs to Slurm: the same runner, started by ``sbatch`` on a node that sees the same files.

The script lies in the run folder (``slurm.sh``), what Slurm itself has to say in ``slurm.log``, its number for the job in ``slurm.json``.
A run stays queued, with Slurm's reason, until its runner claims it on the node; so a job that was handed over twice by a killed
dispatcher does its work once. Wishes are files as ever; ``scancel`` says them to whoever does not look.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import msgspec

from studio.errors import StudioError
from studio.files import write_atomic, write_json
from studio.home import home
from studio.jobs import ending, notify, processes
from studio.jobs.executors import CANCELLED_THERE
from studio.jobs.notify import clean_environment
from studio.jobs.runs import FAILED, QUEUED, Run, append_event, read_run, update_status
from studio.settings import settings
from studio.text import one_line

FRESH = 2.0
"""Seconds for which Slurm's answer is taken for true: its controller is not asked by every look at a list."""
AGAIN = 15.0
"""Seconds until a job that was not taken is handed over again."""
NOTICE = 180
"""Seconds before the end of its time at which a run is told to save and stop. It is then handed over again and goes on."""
SECRETS = ("TOKEN", "SECRET", "PASSWORD", "_KEY")
"""Words in the names of variables that do not travel: Slurm keeps a job's environment in files of its own."""


class Handed(msgspec.Struct):
    """``slurm.json``."""

    job: str
    number: int
    """The attempt it was handed over for."""


class Job(msgspec.Struct, frozen=True):
    """A job that Slurm knows and that has not ended."""

    id: str
    name: str
    state: str
    reason: str


def require() -> None:
    """StudioError without Slurm's commands."""
    if not shutil.which("sbatch"):
        raise StudioError("Slurm's sbatch is not on this machine's PATH; log in to a machine that has it, or leave --on slurm away.")


_seen: tuple[float, list[Job] | None] = (float("-inf"), None)
_refused: dict[Path, tuple[float, str]] = {}


def jobs(fresh: float = FRESH) -> list[Job] | None:
    """Our jobs in Slurm's queue; None where its controller does not answer."""
    global _seen
    if time.monotonic() - _seen[0] >= fresh:
        answer = _ask("squeue", "--me", "--noheader", "--format=%i|%j|%T|%r")
        found = None if answer is None else [Job(*line.split("|", 3)) for line in answer.splitlines() if line.count("|") >= 3]
        _seen = time.monotonic(), found
    return _seen[1]


def _ask(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def handed(path: Path) -> Handed | None:
    try:
        return msgspec.json.decode((path / "slurm.json").read_bytes(), type=Handed)
    except (OSError, msgspec.DecodeError):
        return None


def name_of(path: Path, number: int) -> str:
    """The same for the same attempt, whoever hands it over."""
    return f"studio-{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}-{number}"


class Slurm:
    def submit(self, run: Run, busy: list[Run]) -> str:
        number = run.status.attempts + 1
        known = jobs()
        if known is None:
            return "Waiting: Slurm does not answer (squeue); it is asked again."
        note = handed(run.path)
        mine = [job for job in known if job.name == name_of(run.path, number)]
        if mine:
            job = mine[0]
            if note is None or note.job != job.id:
                write_json(run.path / "slurm.json", Handed(job.id, number))
            reason = f": {one_line(job.reason)}" if job.state == "PENDING" and job.reason not in ("None", "") else ""
            return f"Waiting in Slurm as job {job.id} ({job.state.lower()}{reason})."
        if note is not None and note.number == number:
            return self._lost(run, note)
        refused = _refused.get(run.path)
        if refused and time.monotonic() - refused[0] < AGAIN:
            return refused[1]
        return self._hand_over(run, number)

    def _hand_over(self, run: Run, number: int) -> str:
        global _seen
        script = run.path / "slurm.sh"
        write_atomic(script, script_of(run, number))
        wanted = settings().slurm
        cards = [wanted.gpus.format(devices=run.inputs.devices)] if wanted.gpus else []
        environment = {name: value for name, value in clean_environment().items() if not any(word in name.upper() for word in SECRETS)}
        environment |= {"STUDIO_HOME": str(home().absolute())}
        try:
            done = subprocess.run(
                ["sbatch", "--parsable", *cards, *wanted.options, str(script)],
                capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=environment, cwd="/",
            )  # fmt: skip
            failed = one_line(done.stderr.strip().splitlines()[-1])[:300] if done.stderr.strip() else f"exit code {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            done, failed = None, one_line(str(error))[:300]
        if done is None or done.returncode:
            said = f"Waiting: Slurm did not take it ({failed}); it is tried again. Options for sbatch stand in {home() / 'config.toml'}."
            _refused[run.path] = time.monotonic(), said
            return said
        job = done.stdout.strip().partition(";")[0]
        write_json(run.path / "slurm.json", Handed(job, number))
        _seen = float("-inf"), None
        return f"Waiting in Slurm as job {job}."

    def _lost(self, run: Run, note: Handed) -> str:
        """It was handed over and is not in Slurm's queue any more: its runner has claimed it, or Slurm has dropped it."""
        how = self.end_of(run)
        with ending.changing(run.path):
            now = read_run(run.path)
            if now.status.state == QUEUED and now.status.attempts + 1 == note.number:
                said = f"Slurm's job {note.job} ended before the run began{f' ({how})' if how else ''}; see slurm.log in {run.path}, then retry it."
                (run.path / "slurm.json").unlink(missing_ok=True)
                update_status(run.path, state=FAILED, message=said, ended=time.time())
                append_event(run.path, "state", state=FAILED, message=said)
                notify.tell(read_run(run.path))
        return ""

    def lives(self, run: Run) -> bool:
        if ending.is_alive(run.path):
            return True
        known = jobs()
        return known is None or any(job.name == name_of(run.path, run.status.attempts) for job in known)

    def cancel(self, run: Run) -> None:
        note = handed(run.path)
        if note is None:
            return
        if note.number > run.status.attempts:  # it has not begun
            _ask("scancel", note.job)
            (run.path / "slurm.json").unlink(missing_ok=True)
        else:  # to the runner alone: it passes the wish on, with grace
            _ask("scancel", "--batch", "--signal=TERM", note.job)

    def end_of(self, run: Run) -> str:
        note = handed(run.path)
        if note is None:
            return ""
        answer = _ask("scontrol", "show", "job", "--oneliner", note.job)
        words = dict(word.split("=", 1) for word in (answer or "").split() if "=" in word)
        state = words.get("JobState") or next(iter((_ask("sacct", "-n", "-X", "-P", "-o", "State", "-j", note.job) or "").split()), "")
        return ENDS.get(state, "")


ENDS = {
    "OUT_OF_MEMORY": "memory",
    "TIMEOUT": "came to the end of its time in Slurm",
    "NODE_FAIL": "lost its node in Slurm",
    "PREEMPTED": "had to give way to another job in Slurm",
    "CANCELLED": CANCELLED_THERE,
}


def script_of(run: Run, number: int) -> str:
    """The batch script. A person can hand it over by hand, too: the runner takes the run if it is still to be had."""
    log = str(run.path / "slurm.log").replace("%", "%%")
    argv = shlex.join(processes.python("studio.jobs.runner", str(run.path), str(number)))
    # exec: the runner is the batch process, so that scancel and the notice before the end of time reach it.
    lines = [
        "#!/bin/sh",
        f"#SBATCH --job-name={name_of(run.path, number)}",
        f'#SBATCH --output="{log}"',
        "#SBATCH --open-mode=append",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        "#SBATCH --no-requeue",
        f"#SBATCH --signal=B:TERM@{NOTICE}",
        "#SBATCH --chdir=/",
        "",
        *settings().slurm.setup,
        f"export {processes.RUN_VARIABLE}={shlex.quote(str(run.path))}",
        f"exec {argv}",
    ]
    return "\n".join(lines) + "\n"
