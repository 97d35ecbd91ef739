"""What serving costs: start, first answer, an adapter in and out of the running server, tokens a second with one, two and four streams of
different adapters at once, stop. vLLM beside the embedded engine.

    python -m tests.bench.serving                  the pocket base
    python -m tests.bench.serving --base FOLDER --engine vllm

Prints a Markdown table. The adapters are random: what they say is noise, what they cost is not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from studio.checkpoints.base import require_base
from studio.checkpoints.store import Checkpoint, get_checkpoint, write_card
from studio.checkpoints.templates import template_for
from studio.engines import environment, hot, servers, starting
from studio.engines.servers import Engine, Server
from studio.jobs import processes
from studio.persona.folder import Persona, create
from studio.text import size
from tests.bench.schemes import own_home

ADAPTERS = ("sft-1", "sft-2", "sft-3", "sft-4")
TOKENS = 96
"""Tokens of each reply; its end is ignored, so that all are equally long."""
TIMES = 3
"""Each speed is measured so often; the median counts."""


def make_adapters(persona: Persona, root: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for number, name in enumerate(ADAPTERS, 1):
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_pretrained(root, dtype=torch.float32)
        settings = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        folder = persona.checkpoints / name
        get_peft_model(model, settings).save_pretrained(str(folder))
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).write_bytes((root / file).read_bytes())
        (folder / "chat_template.jinja").write_text(template_for(root).text, encoding="utf-8")
        write_card(folder, Checkpoint(name, name, "sft", parent="base", base=str(root), kind="adapter", created=f"2026-01-0{number}"))


class Speed(NamedTuple):
    """Of replies that were drawn together."""

    each_second: float
    each_processor_second: float
    """Tokens for a second of one core: what else the machine does is not in it."""


def speed(server: Server, names: Sequence[str]) -> Speed:
    """The median over several times that these checkpoints were asked all at once."""
    import httpx

    async def once() -> int:
        headers = {"Authorization": f"Bearer {server.key}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=600, trust_env=False, verify=False) as client:

            async def one(name: str) -> int:
                asked = {"model": name, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": TOKENS, "ignore_eos": True}
                answer = await client.post("/v1/chat/completions", json=asked)
                return int(answer.json()["usage"]["completion_tokens"])

            return sum(await asyncio.gather(*(one(name) for name in names)))

    found = []
    for _ in range(TIMES):
        began, spent = time.monotonic(), _spent(server)
        drawn = asyncio.run(once())
        found.append(Speed(drawn / (time.monotonic() - began), drawn / max(0.01, _spent(server) - spent)))
    return Speed(*(statistics.median(column) for column in zip(*found, strict=True)))


def measured(persona: Persona, engine: Engine) -> list[str]:
    """The cells of an engine's row."""
    began = time.monotonic()
    first = ["base", *ADAPTERS[: 3 if engine == "vllm" else 4]]
    (server,) = starting.start(persona, [get_checkpoint(persona, name) for name in first], engine, context=1024)
    servers.wait_ready(server)
    up = f"{time.monotonic() - began:.0f} s ({_spent(server):.0f})"
    taken = ""
    if engine == "vllm":
        joined = get_checkpoint(persona, "sft-4")
        times = []
        for _ in range(TIMES):
            began = time.monotonic()
            hot.add(persona, joined)
            middle = time.monotonic()
            hot.remove(persona, joined.id)
            times.append((middle - began, time.monotonic() - middle))
        server = hot.add(persona, joined)
        taken = " / ".join(f"{statistics.median(column) * 1000:.0f} ms" for column in zip(*times, strict=True))
    speed(server, ADAPTERS)  # the first replies prepare what later ones find ready
    speeds = [speed(server, names) for names in (["base"], *(ADAPTERS[:streams] for streams in (1, 2, 4)))]
    members = processes.members(server.path)
    held = sum(_resident(pid) for pid in members)
    began = time.monotonic()
    servers.stop(server)
    gone = f"{time.monotonic() - began:.1f} s"
    if left := [pid for pid in members if processes.is_running(pid)]:
        gone += f", {len(left)} processes are LEFT"
    return [up, taken, *(f"{s.each_second:.0f} ({s.each_processor_second:.0f})" for s in speeds), size(held), gone]


def _spent(server: Server) -> float:
    """Seconds of processor that a server's processes have used."""
    ticks = 0
    for pid in processes.members(server.path):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").split("\n")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--engine", choices=("vllm", "embedded"), action="append")
    arguments = parser.parse_args()
    base = own_home(arguments.base)
    persona = create("Bench", base, parent=Path(os.environ["STUDIO_HOME"]))
    make_adapters(persona, require_base(base))
    heads = ("engine", "up", "adapter in / out", "base", "1 adapter", "2 at once", "4 at once", "memory", "stop")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for engine in arguments.engine or ("vllm", "embedded"):
        if engine == "vllm" and not environment.status().ready:
            print("| vllm | not built: studio doctor --fix |", flush=True)
            continue
        print(f"| {engine} | {' | '.join(measured(persona, engine))} |", flush=True)
    print(
        f"\ntokens/s over replies of {TOKENS} tokens, of as many adapters as streams; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
