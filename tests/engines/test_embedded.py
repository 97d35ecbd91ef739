"""The embedded engine, as a process, asked by the client that the app uses."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.engines import client
from studio.engines.client import Sampler
from studio.engines.servers import Server
from studio.errors import StudioError
from studio.persona.folder import Persona
from tests.engines.engine_family import BY_HEART, QUESTION

HELLO = [{"role": "user", "content": "Hello, 你好."}]


async def reply(server: Server, model: str, sampler: Sampler, messages: list[dict[str, str]] = HELLO) -> tuple[str, list[client.Delta]]:
    deltas = [delta async for delta in client.stream_chat(server, model, messages, sampler)]
    return "".join(delta.text for delta in deltas), deltas


def post(server: Server, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(server.url + path, json=body, headers={"Authorization": f"Bearer {server.key}"}, timeout=60, trust_env=False)


async def test_a_reply_streams_in_pieces_and_ends_with_its_usage(embedded: Server) -> None:
    text, deltas = await reply(embedded, "base", Sampler(max_tokens=20, seed=1))
    assert text and len([d for d in deltas if d.text]) > 5
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["length"]
    usage = deltas[-1].usage
    assert usage and usage.completion_tokens == 20 and usage.prompt_tokens > 5 and usage.tokens_per_second > 0 and usage.first_token > 0


async def test_a_seed_gives_the_same_reply_while_others_stream(embedded: Server) -> None:
    sampler = Sampler(max_tokens=40, seed=11)
    alone = {name: (await reply(embedded, name, sampler))[0] for name in embedded.models}
    assert len(set(alone.values())) == 4, "four checkpoints, four voices"
    together = await asyncio.gather(*(reply(embedded, name, sampler) for name in embedded.models), reply(embedded, "sft-1", Sampler(seed=12)))
    assert {name: text for name, (text, _) in zip(embedded.models, together, strict=False)} == alone
    assert together[-1][0] != alone["sft-1"]


@pytest.mark.parametrize("name", ["sft-1", "sft-2", "base", "cpt-1"])
async def test_log_probabilities_are_those_of_peft(embedded: Server, family: Persona, pocket: Path, name: str) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from studio.checkpoints.base import load_tokenizer
    from studio.checkpoints.templates import render, template_for

    full = family.checkpoints / "cpt-1" if name == "cpt-1" else pocket
    model: Any = AutoModelForCausalLM.from_pretrained(full, dtype=torch.float32)
    if name.startswith("sft"):
        model = PeftModel.from_pretrained(model, str(family.checkpoints / name))
    tokenizer, text = load_tokenizer(pocket), "The lamp is lit, 灯亮了."
    before = tokenizer.encode(render(template_for(pocket), HELLO, True), add_special_tokens=False).ids
    after = tokenizer.encode(text, add_special_tokens=False).ids
    with torch.no_grad():
        logs = model.eval()(torch.tensor([before + after])).logits[0].log_softmax(-1)
    expected = sum(float(logs[len(before) - 1 + i, token]) for i, token in enumerate(after))
    noise = asyncio.create_task(reply(embedded, "sft-2" if name == "sft-1" else "sft-1", Sampler(max_tokens=30)))
    measured, tokens = await client.score_tokens(embedded, name, HELLO, text)
    await noise
    assert tokens == len(after)
    assert measured == pytest.approx(expected, abs=1e-3)


async def test_the_stop_token_ends_the_reply_and_no_character_is_torn(embedded: Server) -> None:
    text, deltas = await reply(embedded, "cpt-1", Sampler(temperature=0, max_tokens=300), [{"role": "user", "content": QUESTION}])
    assert text == BY_HEART
    assert len(deltas) > 10 and not any("\ufffd" in d.text for d in deltas)
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["stop"]


async def test_a_reply_cut_inside_a_character_leaves_the_part_away(embedded: Server) -> None:
    for limit in range(1, 30):
        text, _ = await reply(embedded, "cpt-1", Sampler(temperature=0, max_tokens=limit), [{"role": "user", "content": QUESTION}])
        assert BY_HEART.startswith(text)


async def test_a_stop_string_is_neither_shown_nor_begun(embedded: Server) -> None:
    sampler = Sampler(temperature=0, stop=("lamp is",))
    text, deltas = await reply(embedded, "cpt-1", sampler, [{"role": "user", "content": QUESTION}])
    assert text == BY_HEART.partition("lamp is")[0]
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["stop"]


async def test_greedy_log_probabilities_and_a_continued_message(embedded: Server) -> None:
    asked = {"model": "cpt-1", "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 5}
    answer = post(embedded, "/v1/chat/completions", asked | {"logprobs": True, "top_logprobs": 2}).json()
    content = answer["choices"][0]["logprobs"]["content"]
    assert len(content) == 5 and all(entry["top_logprobs"][0]["logprob"] == entry["logprob"] for entry in content)
    begun = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": BY_HEART[:6]}]
    refused = post(embedded, "/v1/chat/completions", asked | {"messages": begun, "continue_final_message": True})
    assert refused.status_code == 400 and "add_generation_prompt" in refused.json()["error"]["message"]
    going_on = asked | {"messages": begun, "continue_final_message": True, "add_generation_prompt": False, "max_tokens": 300}
    assert post(embedded, "/v1/chat/completions", going_on).json()["choices"][0]["message"]["content"] == BY_HEART[6:]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dry_multiplier": 1.0}, "dry_multiplier"),
        ({"n": 2}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "ghost", "content": "x"}]}, "ghost"),
        ({"messages": [{"role": "user", "content": "lamp " * 3000}]}, "context is 2048 tokens"),
        ({"max_tokens": 5000}, "5000"),
    ],
)
def test_what_is_not_obeyed_is_refused(embedded: Server, changed: dict[str, Any], words: str) -> None:
    answer = post(embedded, "/v1/chat/completions", {"model": "base", "messages": HELLO} | changed)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


async def test_a_long_conversation_is_a_sentence_with_numbers(embedded: Server) -> None:
    with pytest.raises(StudioError, match=r"too long for embedded-\d+.*context is 2048 tokens, but the prompt has \d{4}"):
        await reply(embedded, "base", Sampler(), [{"role": "user", "content": "lamp " * 3000}])


def test_nothing_but_health_without_the_key(embedded: Server) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        for path in ("/v1/models", "/v1/chat/completions", "/v1/completions", "/tokenize"):
            method = "GET" if path == "/v1/models" else "POST"
            assert httpx.request(method, embedded.url + path, headers=headers, trust_env=False).status_code == 401
    assert httpx.get(embedded.url + "/health", trust_env=False).status_code == 200
    listed = httpx.get(embedded.url + "/v1/models", headers={"Authorization": f"Bearer {embedded.key}"}, trust_env=False).json()
    assert [model["id"] for model in listed["data"]] == list(embedded.models)
    assert post(embedded, "/v1/chat/completions", {"model": "nobody", "messages": HELLO}).status_code == 404


async def test_a_client_that_leaves_ends_its_generation(embedded: Server) -> None:
    before = httpx.get(embedded.url + "/health", trust_env=False).json()["steps"]
    async for delta in client.stream_chat(embedded, "base", HELLO, Sampler(max_tokens=1900, seed=3)):
        if delta.text:
            break
    deadline = time.monotonic() + 60
    while (health := httpx.get(embedded.url + "/health", trust_env=False).json())["active"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert health["steps"] - before < 1000


async def test_old_turns_are_left_out_until_it_fits(embedded: Server) -> None:
    talk = [{"role": "system", "content": "You keep the light."}]
    talk += [{"role": ("user", "assistant")[i % 2], "content": f"{i} " + "the ferry is late " * 20} for i in range(21)]
    kept, dropped = await client.trim_history(embedded, "base", talk, 600)
    assert dropped > 0 and kept == [talk[0], *talk[1 + dropped :]]
    assert kept[1]["role"] == "user"
    assert await client.count_tokens(embedded, "base", kept) <= 600
    tokens = await client.prompt_tokens(embedded, "base", kept)
    assert len(tokens) == await client.count_tokens(embedded, "base", kept) and "<|im_start|>" in tokens
    assert await client.count_tokens(embedded, "base", [talk[0], *talk[dropped - 1 :]]) > 600, "two more would not have fitted"
    assert await client.trim_history(embedded, "base", talk[:2], 600) == (talk[:2], 0)
    with pytest.raises(StudioError, match="last message alone"):
        await client.trim_history(embedded, "base", talk, 20)


async def test_scores_know_what_was_learned(embedded: Server) -> None:
    asked = [{"role": "user", "content": QUESTION}]
    assert await client.score(embedded, "cpt-1", asked, BY_HEART) > -5
    assert await client.score(embedded, "base", asked, BY_HEART) < -100
