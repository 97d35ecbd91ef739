"""Every quantization scheme on one base: time, memory, size, how far it is from its parent, and whether vLLM serves it here.

    python -m tests.bench.schemes                       the pocket base, all schemes
    python -m tests.bench.schemes --base FOLDER fp8-dynamic int4-rtn

Prints a Markdown table. Each scheme is a process of its own; vLLM is asked where its environment is built (studio doctor).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from studio.checkpoints import base as bases
from studio.checkpoints import herself
from studio.checkpoints.schemes import SCHEMES
from studio.checkpoints.store import get_checkpoint, read_checkpoint
from studio.engines import environment, servers, starting
from studio.errors import StudioError
from studio.jobs import processes
from studio.jobs.runs import create_run, read_events
from studio.persona.folder import Persona, create
from studio.readiness import prepare
from studio.recipes.files import resolve, to_toml
from studio.text import size


def material(persona: Persona) -> None:
    """The sample persona's dialogue, frozen."""
    from studio.dialogue.adding import add
    from studio.dialogue.build import build
    from studio.home import samples

    add(persona, [samples() / "wen" / "dialogue" / "wen.en.jsonl"])
    build(persona)
    persona.probes.write_bytes((samples() / "wen" / "probes.jsonl").read_bytes())


def quantized(persona: Persona, scheme: str, settings: list[str]) -> tuple[str, float, int]:
    """The checkpoint's id, seconds and peak bytes of the whole process. StudioError if it was refused."""
    recipe = resolve(persona, "quantize", None, [f"scheme={scheme}", *settings])
    run = create_run(persona, prepare(persona, "quantize", recipe, "base"), to_toml(recipe))
    began = time.monotonic()
    child = processes.detach(processes.python("studio.stages", str(run.path)), run.path / "log.txt", dict(os.environ))
    child.wait()
    result = json.loads((run.path / "result.json").read_text())
    if not result["ok"]:
        raise StudioError(result["error"])
    peak = max((int(event.get("peak_bytes") or 0) for event in read_events(run.path) if event["kind"] == "memory"), default=0)
    return str(result["checkpoints"][0]), time.monotonic() - began, peak


def served(persona: Persona, name: str) -> str:
    """``yes`` and the seconds to its first answer, or what vLLM says."""
    if not environment.status().ready:
        return "not tried"
    began = time.monotonic()
    try:
        (server,) = starting.start(persona, [get_checkpoint(persona, name)], "vllm", context=1024)
        servers.wait_ready(server)
    except StudioError as error:
        return f"no: {str(error).partition('did not start: ')[2] or error}"
    try:
        import asyncio

        from studio.engines.client import Sampler, stream_chat

        async def ask() -> int:
            asked = [{"role": "user", "content": "Who are you?"}]
            return len([delta async for delta in stream_chat(server, server.models[name], asked, Sampler(temperature=0, max_tokens=16))])

        asyncio.run(ask())
        return f"yes, {time.monotonic() - began:.0f} s to the first answer"
    except StudioError as error:
        return f"no: {error}"
    finally:
        servers.stop(server)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schemes", nargs="*", default=list(SCHEMES))
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--no-serving", action="store_true")
    arguments = parser.parse_args()
    # A home of its own, but the machine's serving environment: it takes minutes to build.
    ready = environment.status()
    home = Path(tempfile.mkdtemp(prefix="schemes-"))
    os.environ["STUDIO_HOME"] = str(home)
    if ready.ready:
        (home / "serving").symlink_to(ready.path)
    if arguments.base == "pocket":
        from studio.stages.pocket import ensure_pocket

        ensure_pocket()
    persona = create("Bench", arguments.base, parent=home)
    material(persona)
    weights = sum(file.stat().st_size for file in bases.require_base(arguments.base).glob("*.safetensors"))
    measures = "s | peak | size | ppl | KL | p99 | top-1 | verdict"
    print(f"| scheme ({arguments.base}, bf16 {size(weights)}) | {measures} | vLLM {environment.VLLM} |", flush=True)
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for scheme in arguments.schemes:
        try:
            name, seconds, peak = quantized(persona, scheme, arguments.set)
        except StudioError as error:
            print(f"| {scheme} | | | | | | | | | {error} |", flush=True)
            continue
        m = read_checkpoint(persona.checkpoints / name).metrics
        said = herself.verdict(m)
        word = said.word if said else ""
        numbers = f"{m['ppl']:.1f} after {m['parent_ppl']:.1f} | {m['kl']:.3f} | {m['kl_p99']:.2f} | {m['top1']:.0%} | {word}"
        there = "not tried" if arguments.no_serving else served(persona, name)
        print(f"| {scheme} | {seconds:.0f} | {size(peak)} | {size(m['bytes'])} | {numbers} | {there} |", flush=True)
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
