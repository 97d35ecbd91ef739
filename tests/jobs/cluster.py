"""A Slurm of one node, for as long as a test: munged, slurmctld and slurmd of the system's packages, in a folder of their own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "munge")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ctld}
SlurmdPort={slurmd}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=100000
GresTypes=gpu
ReturnToService=2
MpiDefault=none
MessageTimeout=2
KillWait=5
OverTimeLimit=0
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=node1 Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here, and nothing if there can. Installs it where that is possible."""
    if os.geteuid() != 0:
        return "a Slurm for the test needs root"
    if all(shutil.which(name) for name in ("slurmctld", "slurmd", "munged", "sbatch")):
        return ""
    if not shutil.which("apt-get"):
        return "there is no Slurm and no apt-get to install it with"
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if command is install and done.returncode == 0:
            return ""
    return f"Slurm could not be installed: {done.stderr.strip()[-300:]}"


class Cluster:
    """Running from ``start`` to ``stop``; its clients find it by ``SLURM_CONF``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        ctld, slurmd = (_free_port() for _ in range(2))
        host = socket.gethostname().partition(".")[0]
        self.conf.write_text(CONF.format(host=host, ctld=ctld, slurmd=slurmd, folder=self.folder, cpus=os.cpu_count()))
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/zero\n")
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        files: dict[str, str | Path] = {
            "key-file": key,
            "socket": "munge.socket",
            "pid-file": "munge.pid",
            "log-file": "munge.log",
            "seed-file": "munge.seed",
        }
        self._daemon("munged", "--foreground", "--force", *(f"--{option}={self.folder / name}" for option, name in files.items()))
        self.until(lambda: (self.folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D", "-f", str(self.conf))
        self._daemon("slurmd", "-D", "-N", "node1", "-f", str(self.conf))
        self.until(lambda: self.ask("sinfo", "-h", "-o", "%T") == "idle")

    def restart(self) -> None:
        """Both daemons again, as after their SIGKILL."""
        self._daemon("slurmctld", "-D", "-f", str(self.conf))
        self._daemon("slurmd", "-D", "-N", "node1", "-f", str(self.conf))
        self.until(self._usable)

    def _usable(self) -> bool:
        """Whether the node takes jobs; one that the controller holds for lost is what an administrator gives back."""
        state = self.ask("sinfo", "-h", "-o", "%T")
        if state.startswith(("down", "drain", "unk")):
            self.ask("scontrol", "update", "nodename=node1", "state=resume")
        return state in ("idle", "mixed", "allocated", "completing")

    def _daemon(self, *argv: str) -> None:
        with (self.folder / f"{argv[0]}.out").open("ab") as out:
            self.daemons[argv[0]] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self._environment(), start_new_session=True
            )

    def _environment(self) -> dict[str, str]:
        """Without what marks processes as the test's machine's own."""
        return {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")} | {"SLURM_CONF": str(self.conf)}

    def ask(self, *argv: str) -> str:
        return subprocess.run(argv, capture_output=True, text=True, env=self._environment()).stdout.strip()

    def until(self, holds: Callable[[], object], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                logs = {path.name: path.read_text(errors="replace")[-1500:] for path in self.folder.glob("*.*o*") if path.suffix in (".log", ".out")}
                raise AssertionError(f"the cluster is not as it should be: {logs}")
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        self.daemons[name].send_signal(signal.SIGKILL)
        self.daemons[name].wait()

    def stop(self) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            if daemon := self.daemons.get(name):
                daemon.kill()
                daemon.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
