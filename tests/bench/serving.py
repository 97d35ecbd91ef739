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
from pathlib import Path

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


async def speed(server: Server, names: list[str]) -> float:
    """Tokens a second of replies by these checkpoints, all asked at once."""
    import httpx

    async with httpx.AsyncClient(
        base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, timeout=600, trust_env=False, verify=False
    ) as client:

        async def one(name: str) -> int:
            asked = {"model": name, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": TOKENS, "ignore_eos": True}
            answer = await client.post("/v1/chat/completions", json=asked)
            return int(answer.json()["usage"]["completion_tokens"])

        began = time.monotonic()
        drawn = sum(await asyncio.gather(*(one(name) for name in names)))
        return drawn / (time.monotonic() - began)


def measured(persona: Persona, engine: Engine) -> list[str]:
    """The cells of an engine's row."""
    began = time.monotonic()
    first = ["base", *ADAPTERS[: 3 if engine == "vllm" else 4]]
    (server,) = starting.start(persona, [get_checkpoint(persona, name) for name in first], engine, context=1024)
    servers.wait_ready(server)
    up = time.monotonic() - began
    asyncio.run(speed(server, ["sft-1"]))
    answered = time.monotonic() - began
    taken = ""
    if engine == "vllm":
        joined = get_checkpoint(persona, "sft-4")
        times = []
        for _ in range(TIMES):
            began = time.monotonic()
            server = hot.add(persona, joined)
            middle = time.monotonic()
            hot.remove(persona, joined.id)
            times.append((middle - began, time.monotonic() - middle))
        server = hot.add(persona, joined)
        taken = " / ".join(f"{statistics.median(column) * 1000:.0f} ms" for column in zip(*times, strict=True))
    speeds = [f"{statistics.median(asyncio.run(speed(server, list(ADAPTERS[:streams]))) for _ in range(TIMES)):.0f}" for streams in (1, 2, 4)]
    asyncio.run(speed(server, ["base"]))
    alone = f"{statistics.median(asyncio.run(speed(server, ['base'])) for _ in range(TIMES)):.0f}"
    members = processes.members(server.path)
    held = sum(_resident(pid) for pid in members)
    began = time.monotonic()
    servers.stop(server)
    gone = time.monotonic() - began
    left = [pid for pid in members if processes.is_running(pid)]
    return [f"{up:.1f} s", f"{answered:.1f} s", taken, alone, *speeds, size(held), f"{gone:.1f} s{f', {len(left)} LEFT' if left else ''}"]


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
    heads = ("engine", "up", "first answer", "adapter in / out", "base", "1 stream", "2", "4", "memory", "stop")
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
