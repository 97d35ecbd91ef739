"""vLLM for real, on the tiny family: one server for all checks, then one that cannot start."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from studio.checkpoints.store import Checkpoint, get_checkpoint
from studio.dialogue import synth
from studio.dialogue.store import SYNTHETIC, rows
from studio.engines import client, environment, filtered, hot, metrics, servers, starting
from studio.engines.client import Sampler
from studio.engines.servers import Server
from studio.engines.sharing import ensure_served, served_by
from studio.errors import StudioError
from studio.files import read_lines
from studio.jobs import processes
from studio.persona.folder import Persona
from tests.engines.engine_family import BY_HEART, QUESTION, chosen

pytestmark = pytest.mark.serving

ASKED = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def started(family: Persona, serving: environment.ServingEnvironment) -> Iterator[dict[str, Server]]:
    """Base with an adapter in one process, the full checkpoint in another, which filters; both come up at the same time. The second adapter
    joins later."""
    told: list[str] = []
    (family.root / "filter.toml").write_text('words = ["lantern oil"]\nregions = ["HU"]\n', encoding="utf-8")
    begun = starting.start(family, chosen(family, "sft-1"), "vllm", context=1024)
    begun += starting.start(family, chosen(family, "cpt-1"), "vllm", context=2048, filtered=True)
    (family.root / "filter.toml").unlink()
    for server in begun:
        servers.wait_ready(server, told.append)
    assert "vLLM has started" in told
    # What a review asks for is what it gets: the running server takes the adapter in, nothing else is started.
    found, more = ensure_served(family, chosen(family, "sft-1", "sft-2"), "vllm")
    assert more == [] and found["sft-2"].name == found["sft-1"].name
    begun = [server for server in servers.running(family) if server.engine == "vllm"]
    yield {name: server for server in begun for name in server.models}
    for server in begun:
        servers.stop(server)


async def reply(server: Server, model: str, sampler: Sampler) -> tuple[str, str, client.Usage | None]:
    text, finish, usage = "", "", None
    async for delta in client.stream_chat(server, model, ASKED, sampler):
        text, finish, usage = text + delta.text, delta.finish_reason or finish, delta.usage or usage
    return text, finish, usage


async def test_one_process_for_each_family(started: dict[str, Server]) -> None:
    assert set(started) == {"base", "sft-1", "sft-2", "cpt-1"}
    assert started["base"].name == started["sft-1"].name == started["sft-2"].name != started["cpt-1"].name
    assert started["base"].context == 1024


async def test_it_says_what_it_learned_and_stops_at_the_end_of_its_turn(started: dict[str, Server]) -> None:
    text, finish, usage = await reply(started["cpt-1"], "cpt-1", Sampler(temperature=0))
    assert (text, finish) == (BY_HEART, "stop")
    assert usage and usage.completion_tokens > 10


SECRET = "Write to anna.kovacs@gmail.com or call +36 30 123 4567 for lantern oil, she said."
HIDDEN = "Write to [mail] or call [phone] for […], she said."


async def test_what_it_must_not_say_is_taken_out_in_every_form_of_an_answer(started: dict[str, Server]) -> None:
    server = started["cpt-1"]
    # She goes on with words that are put into her mouth, which vLLM says once more: so it is known what she would say.
    begun = {"messages": [*ASKED, {"role": "assistant", "content": SECRET}], "add_generation_prompt": False, "continue_final_message": True}
    talk = begun | {"return_token_ids": True}  # a plain completion would leave out the echo with it
    asked = {"model": "cpt-1", "max_tokens": 4, "echo": True, "n": 2, "seed": 1}
    url, headers = server.url, {"Authorization": f"Bearer {server.key}"}

    def post(path: str, **body: Any) -> httpx.Response:
        return httpx.post(url + path, json=body, headers=headers, trust_env=False, timeout=60)

    whole = post("/v1/chat/completions", **asked, **talk)
    assert [choice["message"]["content"][: len(HIDDEN)] for choice in whole.json()["choices"]] == [HIDDEN] * 2
    plain = post("/v1/completions", **asked, prompt=SECRET)
    assert [choice["text"][: len(HIDDEN)] for choice in plain.json()["choices"]] == [HIDDEN] * 2
    for path, body, part in (("/v1/chat/completions", talk, "delta"), ("/v1/completions", {"prompt": SECRET}, "")):
        streamed = post(path, **asked, **body, stream=True, stream_options={"include_usage": True})
        events = [msgspec.json.decode(line[5:]) for line in streamed.text.split("\n") if line.startswith("data: {")]
        for index in range(2):
            choices = [choice for event in events for choice in event["choices"] if choice["index"] == index]
            said = "".join((choice[part].get("content") if part else choice["text"]) or "" for choice in choices)
            assert said[: len(HIDDEN)] == HIDDEN and [c["finish_reason"] for c in choices if c.get("finish_reason")] == ["length"]
        assert events[-1]["usage"]["completion_tokens"] == 8
        assert "kovacs" not in streamed.text + whole.text + plain.text and "token_ids" not in streamed.text + whole.text + plain.text
    assert post("/v1/chat/completions", **asked, **talk, logprobs=True).status_code == 400
    assert post("/v1/responses", model="cpt-1", input=SECRET).status_code == post("/invocations", **asked, prompt=SECRET).status_code == 400
    assert filtered.counts(server.path)["mail"] == 8


async def test_adapters_differ_and_agree_with_the_embedded_engine(started: dict[str, Server], embedded: Server) -> None:
    sampler = Sampler(seed=3, max_tokens=30)
    names = ("base", "sft-1", "sft-2")
    replies = await asyncio.gather(*(reply(started[name], name, sampler) for name in names))
    assert len({text for text, _, _ in replies}) == 3
    # Alone both times: vLLM computes a batch together, and in bf16 that may tip a token.
    alone = [(await reply(started["sft-1"], "sft-1", sampler))[0] for _ in range(2)]
    assert alone[0] == alone[1], "the seed holds"
    scores = {name: await client.score(started[name], name, ASKED, "The lamp is lit.") for name in names}
    assert len(set(scores.values())) == 3
    together = await asyncio.gather(*(client.score(started[name], name, ASKED, "The lamp is lit.") for name in names * 4))
    for name, value in zip(names * 4, together, strict=True):
        assert value == pytest.approx(scores[name], abs=0.05), f"{name} is itself in mixed company (vllm-project/vllm#48421)"
    mixed = [await asyncio.gather(*(reply(started[name], name, sampler) for name in names)) for _ in range(3)]
    # bf16 in another batch may tip a late token, another checkpoint's reply tips an early one.
    lone = (await reply(started["base"], "base", sampler))[0]
    assert all(texts[0][0][:20] == lone[:20] for texts in mixed)
    for name, value in scores.items():
        # vLLM computes in bf16 (8 bits of mantissa), the embedded engine here in float32: 0.15 nats a sentence were seen.
        assert value == pytest.approx(await client.score(embedded, name, ASKED, "The lamp is lit."), abs=0.3)


def test_an_adapter_leaves_and_comes_back(started: dict[str, Server], family: Persona) -> None:
    sft = get_checkpoint(family, "sft-2")
    with pytest.raises(StudioError, match="sft-2 is served already"):
        hot.add(family, sft)
    with pytest.raises(StudioError, match=r"base is what .* was started with"):
        hot.remove(family, "base")
    left = hot.remove(family, "sft-2")
    assert "sft-2" not in left.models and "sft-2" not in served_by(family, ["sft-2"], "vllm")
    with pytest.raises(StudioError, match="No running server has sft-9"):
        hot.remove(family, "sft-9")
    assert "sft-2" in hot.add(family, sft).models
    broken = msgspec.structs.replace(sft, id="sft-9", path=str(family.root))
    with pytest.raises(StudioError):
        hot.add(family, broken)


async def test_it_counts_what_it_does(started: dict[str, Server], family: Persona) -> None:
    server = started["base"]
    before = metrics.read(server)
    await reply(server, "sft-2", Sampler(max_tokens=12, seed=1))
    after = metrics.read(server)
    assert before and after and after.generated > before.generated and after.running == after.waiting == 0
    half, most = after.percentile(0.5), after.percentile(0.95)
    assert half is not None and most is not None and 0 < half <= most
    assert server.cache_tokens > 1024, "as it said when it was up"
    planned = starting.plans(family, chosen(family, "base"), 1024)["base"]
    assert planned.learned and planned.cache_tokens == pytest.approx(server.cache_tokens, rel=0.01), "the next plan goes by it"


async def test_a_conversation_that_is_too_long_is_trimmed_or_refused(started: dict[str, Server]) -> None:
    talk = [{"role": ("user", "assistant")[i % 2], "content": "the ferry is late " * 20} for i in range(21)]
    kept, dropped = await client.trim_history(started["base"], "base", talk, 600)
    assert dropped and kept == talk[dropped:]
    with pytest.raises(StudioError, match=r"too long for vllm-\d+: .*1024 tokens"):
        async for _ in client.stream_chat(started["base"], "base", talk, Sampler()):
            pass


async def test_seeded_prompts_that_are_read_in_parts_do_not_kill_it(started: dict[str, Server]) -> None:
    """More at once than it reads in one step (2,048 tokens)."""

    async def ask(number: int) -> str:
        talk = [{"role": "user", "content": f"{number} " + "the ferry is late " * 220}]
        stream = client.stream_chat(started["cpt-1"], "cpt-1", talk, Sampler(seed=7, max_tokens=3))
        return "".join([delta.finish_reason async for delta in stream])

    assert set(await asyncio.gather(*map(ask, range(4)))) <= {"length", "stop"}
    assert (await reply(started["cpt-1"], "cpt-1", Sampler(temperature=0)))[0] == BY_HEART


@pytest.mark.parametrize("bound", [0, 12])
def test_conversations_it_is_made_to_write_come_to_an_end(
    started: dict[str, Server], family: Persona, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    """It babbles: its answers end at the limit, each counted, or where the form of an answer ends them; then they go the way of all rows."""
    server = started["cpt-1"]
    monkeypatch.setenv("STUDIO_EXTERNAL_KEY", server.key)
    (family.lore / "pier.txt").write_text("The ferry of the island leaves at dusk, when the keeper has lit the lamp of the pier. " * 3)
    if bound:
        monkeypatch.setattr(synth, "SAID", rf"^[a-z ]{{4,{bound}}}$")
    else:
        monkeypatch.setattr(synth, "LONGEST", (4, 4))
    told = synth.synthesize(family, server.base_url, "cpt-1", 2, seed=bound)
    answers = [msgspec.convert(value, synth.Answer) for _, value in read_lines(family.sources / told.source)]
    assert told.asked == len(answers) == 2 == told.kept + sum(told.dropped.values())
    assert all(answer.text.startswith('{"exchanges":[{"user":"') for answer in answers)
    assert [answer.finish for answer in answers] == ["stop" if bound else "length"] * 2
    assert (told.dropped == {synth.CUT_OFF: 2}) is not bool(bound)
    if bound:
        assert all(len(synth.read_answer(answer)) == 2 * answer.exchanges for answer in answers)
    assert [row.id for row in rows(family) if row.made == SYNTHETIC] == told.rows


def test_nothing_but_health_without_the_key(started: dict[str, Server]) -> None:
    server = started["base"]
    for path in ("/v1/models", "/tokenize", "/invocations", "/metrics", "/v1/chat/completions"):
        for headers in ({}, {"Authorization": "Bearer x"}):
            assert httpx.request("POST", server.url + path, headers=headers, json={}, trust_env=False).status_code == 401
    assert httpx.get(server.url + "/health", trust_env=False).status_code == 200
    key = server.key.encode()
    for pid in processes.members(server.path):
        assert key not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_it_listens_on_this_machine_alone(started: dict[str, Server]) -> None:
    pids = processes.members(started["base"].path)
    sockets = {os.readlink(fd) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert listening and listening <= loopback


def test_z_what_outlives_a_killed_server_is_ended(started: dict[str, Server]) -> None:
    """Last, as its name says: it kills the server."""
    server = started["base"]
    alive = processes.members(server.path)
    assert server.pid in alive and len(alive) > 1
    os.kill(server.pid, signal.SIGKILL)
    while servers.is_alive(server):
        pass
    servers.stop(server)
    assert not [pid for pid in alive if processes.is_running(pid)]
    assert processes.members(server.path) == [] and not server.path.exists()


def test_a_broken_model_folder_is_one_sentence(family: Persona, serving: environment.ServingEnvironment, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(get_checkpoint(family, "cpt-1").path, folder)
    broken = Checkpoint("cpt-9", "cpt-9", "cpt", path=str(folder))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for length, said in ((3000, "is incomplete or damaged"), (len(whole) // 2, "is incomplete")):
        weights.write_bytes(whole[:length])
        with pytest.raises(StudioError, match=rf"model\.safetensors {said} \("):
            starting.start(family, [broken], "vllm")
    weights.write_bytes(whole)
    config = msgspec.json.decode((folder / "config.json").read_bytes())
    (folder / "config.json").write_bytes(msgspec.json.encode(config | {"model_type": "riddle", "architectures": ["RiddleForCausalLM"]}))
    (server,) = starting.start(family, [broken], "vllm")  # only vLLM will see it
    with pytest.raises(StudioError, match=r"^vllm-\d+ did not start: vLLM does not know this kind of model.*\(vLLM: ") as raised:
        servers.wait_ready(server)
    assert "\n" not in str(raised.value)
    assert processes.members(server.path) == [] and not server.path.exists()
