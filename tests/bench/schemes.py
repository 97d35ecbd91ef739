"""Every quantization scheme on one base: time, memory, size, how far it is from its parent, and whether vLLM serves it here.

    python -m tests.bench.schemes                       the pocket base, all schemes
    python -m tests.bench.schemes --base FOLDER fp8-dynamic int4-rtn
    python -m tests.bench.schemes --base qwen3.5        a tiny random one: three recurrent layers, one that attends
    python -m tests.bench.schemes --short --base FOLDER only what the table tells is measured: no replies, no lore questions

Prints a Markdown table. Each scheme is a process of its own; vLLM is asked where its environment is built (studio doctor).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
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


def quantized(persona: Persona, scheme: str, settings: list[str], short: bool) -> tuple[str, float, int]:
    """The checkpoint's id, seconds of processor and peak bytes of the whole process. StudioError if it was refused."""
    recipe = resolve(persona, "quantize", None, [f"scheme={scheme}", *settings])
    run = create_run(persona, prepare(persona, "quantize", recipe, "base"), to_toml(recipe))
    began = _processor()
    argv = [sys.executable, "-m", __spec__.name, "--stage", str(run.path)] if short else processes.python("studio.stages", str(run.path))
    child = processes.detach(argv, run.path / "log.txt", dict(os.environ))
    child.wait()
    result = json.loads((run.path / "result.json").read_text())
    if not result["ok"]:
        raise StudioError(result["error"])
    peak = max((int(event.get("peak_bytes") or 0) for event in read_events(run.path) if event["kind"] == "memory"), default=0)
    return str(result["checkpoints"][0]), _processor() - began, peak


def stage(run: str) -> None:
    """The stage's own process, which asks of both models only what the table tells."""
    from studio.stages import __main__, herself

    asked_of = herself.asked_of
    herself.asked_of = lambda *arguments: asked_of(*arguments)._replace(prompts=[], clozes=[])
    sys.exit(__main__.main([run]))


def _processor() -> float:
    """Of the children that have ended: what else the machine does is not in it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def served(persona: Persona, name: str) -> str:
    """``yes`` once it has answered, or what vLLM says."""
    if not environment.status().ready:
        return "not tried"
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
        return "yes"
    except StudioError as error:
        return f"no: {error}"
    finally:
        servers.stop(server)


def own_home(base: str) -> str:
    """A home of its own that shares the machine's serving environment, which takes minutes to build; ``base`` as a persona names it."""
    ready = environment.status()
    home = Path(tempfile.mkdtemp(prefix="bench-"))
    os.environ["STUDIO_HOME"] = str(home)
    if ready.ready:
        (home / "serving").symlink_to(ready.path)
    if base in ("pocket", QWEN):
        from studio.stages.pocket import ensure_pocket

        ensure_pocket()
    return str(_qwen(home / QWEN)) if base == QWEN else base


QWEN = "qwen3.5"


def _qwen(folder: Path) -> Path:
    """A random Qwen3.5 with the pocket's tokenizer, wide enough for every scheme's groups and blocks."""
    import torch
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    torch.manual_seed(3)
    config = Qwen3_5TextConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        layer_types=["linear_attention"] * 3 + ["full_attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        # vLLM 0.32 for CPU computes recurrent heads of 128.
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    Qwen3_5ForCausalLM(config).bfloat16().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((bases.pocket_folder() / name).read_bytes())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schemes", nargs="*", default=list(SCHEMES))
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--no-serving", action="store_true")
    parser.add_argument("--short", action="store_true", help="no replies, no lore questions")
    parser.add_argument("--stage", metavar="RUN", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        stage(arguments.stage)
    base = own_home(arguments.base)
    persona = create("Bench", base, parent=Path(os.environ["STUDIO_HOME"]))
    material(persona)
    weights = sum(file.stat().st_size for file in bases.require_base(base).glob("*.safetensors"))
    measures = "s of processor | peak | size | ppl | KL | p99 | top-1 | verdict"
    print(f"| scheme ({Path(arguments.base).name}, bf16 {size(weights)}) | {measures} | vLLM {environment.VLLM} |", flush=True)
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for scheme in arguments.schemes:
        try:
            name, seconds, peak = quantized(persona, scheme, arguments.set, arguments.short)
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
