"""``python -m studio.stages.launcher N RUN_FOLDER``: the stage as N processes under torchrun, one for each card of this machine.

torchrun itself does the work (``--standalone``). Three things are ours: it and its workers speak over the loopback alone, they get as
long as a single process to save what they have when asked to stop, and its exit code is that of the worker that ended first.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from studio.jobs.control import GRACE
from studio.stages.stopping import LOST_PEER, STOPPED

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(int(GRACE))}


def listen_on_loopback() -> None:
    """torchrun's two stores for its workers listen on all interfaces and ask nobody for a key (torch 2.13): they are given sockets instead."""
    import torch.distributed as dist
    from torch.distributed.elastic.rendezvous import c10d_rendezvous_backend as backend

    real: Any = dist.TCPStore

    def store(host_name: str, port: int, is_master: bool = False, **more: Any) -> Any:
        if not is_master:
            return real("127.0.0.1", port, is_master=False, **more)
        listening = socket.create_server(("127.0.0.1", port))
        return real("127.0.0.1", listening.getsockname()[1], is_master=True, master_listen_fd=listening.detach(), **more)

    for module in (dist, backend):
        setattr(module, "TCPStore", store)  # noqa: B010


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not arguments[0].isdigit():
        print("usage: python -m studio.stages.launcher PROCESSES RUN_FOLDER", file=sys.stderr)
        return 2
    count, run = arguments
    os.umask(0o077)
    os.environ.update(LOOPBACK)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(str(number) for number in range(int(count)))).split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible[: int(count)])
    (Path(run) / "result.json").unlink(missing_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(count))))
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    listen_on_loopback()
    try:
        torchrun(["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={count}", "--max-restarts=0", "-m", "studio.stages", run])
    except ChildFailedError as error:
        return first_end(error)
    except SignalException:
        return STOPPED
    return 0


def first_end(error: Any) -> int:
    """How the worker ended that ended first; by a signal, this process ends by the same one."""
    failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
    own = [int(failure.exitcode) for failure in failures if failure.exitcode not in (LOST_PEER, -signal.SIGTERM)]
    code = own[0] if own else int(failures[0].exitcode)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
