"""Inside a server that filters: ASGI middleware between it and whoever asks. It needs neither of the engines' libraries.

Only what can be filtered is let through. Replies are built anew from the fields that are known, so that none leaves by another door
(token ids, log-probabilities, tool calls); addresses that are not known are refused.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from studio.engines.filtering import Filter, Rules, Stream
from studio.files import write_json

SPEAKING = frozenset({"/v1/chat/completions", "/v1/completions"})
OTHERS = frozenset(
    {"/health", "/ping", "/version", "/load", "/metrics", "/tokenize", "/v1/models", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"}
)
"""Addresses that say nothing a model has said."""

RULES_FILE = "filter.json"
COUNTS_FILE = "filtered.json"
VARIABLE = "STUDIO_FILTER"
"""Environment variable with the server's folder, where both files are."""

TEXTS = ("content", "reasoning", "reasoning_content", "refusal", "text")
CHOICE = ("index", "finish_reason", "stop_reason")
HEAD = ("id", "object", "created", "model", "usage", "system_fingerprint", "error")

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refused(Exception):
    """What is asked for cannot be filtered."""


class Filtered:
    """The middleware. Rules and counts lie in the folder that ``STUDIO_FILTER`` names."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], folder: Path | None = None) -> None:
        self.app = app
        self.folder = folder or Path(os.environ[VARIABLE])
        self.filter = Filter(msgspec.json.decode((self.folder / RULES_FILE).read_bytes(), type=Rules))
        self.counts: Counter[str] = Counter()
        """Taken out since the start, by kind; ``replies`` counts those that something was taken out of."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OTHERS:
            await self.app(scope, receive, send)
            return
        try:
            if scope["path"] not in SPEAKING:
                raise Refused("This address is closed on a server that filters what it says.")
            body = await _whole_body(receive)
            asked = _checked(body)
        except Refused as refused:
            await _refuse(send, str(refused))
            return
        body = msgspec.json.encode(asked)
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        scope = scope | {"headers": [*headers, (b"content-length", str(len(body)).encode())]}
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        reply = _Reply(self.filter, send, self._count)
        try:
            await self.app(scope, again, reply.take)
        finally:
            self._count(reply.counts)

    def _count(self, found: Counter[str]) -> None:
        """Add what one reply had, once."""
        if found:
            self.counts.update(found)
            self.counts["replies"] += 1
            found.clear()
            try:
                write_json(self.folder / COUNTS_FILE, dict(self.counts))
            except OSError:
                pass  # the server is being cleared away


def _checked(body: bytes) -> dict[str, Any]:
    """The request, which is handed on as it was read here: two readers of the same bytes may disagree."""
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"The body is not JSON: {error}.") from error
    if not isinstance(asked, dict):
        raise Refused("The body is no JSON object.")
    for key in ("logprobs", "prompt_logprobs", "tools", "functions"):
        if asked.get(key) is not None and asked[key] is not False and asked[key] != []:
            raise Refused(f"This server filters what it says, and {key} would show it all the same; ask one that does not filter.")
    return asked


async def _whole_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("The client has gone.")
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _refuse(send: Send, sentence: str) -> None:
    body = msgspec.json.encode({"error": {"message": sentence, "type": "invalid_request_error", "code": 400}})
    await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


class _Reply:
    """One answer on its way out."""

    def __init__(self, filter_: Filter, send: Send, ended: Callable[[Counter[str]], None]) -> None:
        self.filter, self.send = filter_, send
        self.ended = ended
        """Gets what was taken out, before the last of the reply goes out."""
        self.counts: Counter[str] = Counter()
        self.start: Message = {}
        self.kept = b""
        self.streams: dict[tuple[int, str], Stream] = {}
        """By the choice's index and the field."""
        self.heads: dict[int, dict[str, Any]] = {}
        """The last event of a choice whose end has not come."""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
            self.kind = next((value for name, value in message["headers"] if name.lower() == b"content-type"), b"")
            self.streaming = self.kind.startswith(b"text/event-stream")
            self.plain = message["status"] != 200
            if self.plain or self.streaming:
                await self.send(message)
        elif message["type"] != "http.response.body" or self.plain:
            await self.send(message)
        elif self.streaming:
            await self._events(message)
        else:
            self.kept += message.get("body", b"")
            if not message.get("more_body"):
                await self._whole()

    async def _whole(self) -> None:
        try:
            answer = msgspec.json.decode(self.kept)
            body = msgspec.json.encode(self._known(answer, lambda choice, field, text: self.filter.clean(text, self.counts)))
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError):
            await _refuse(self.send, "The engine's answer has a form that cannot be filtered.")
            return
        self.ended(self.counts)
        headers = [(name, value) for name, value in self.start["headers"] if name.lower() != b"content-length"]
        await self.send(self.start | {"headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await self.send({"type": "http.response.body", "body": body})

    async def _events(self, message: Message) -> None:
        self.kept = (self.kept + message.get("body", b"")).replace(b"\r\n", b"\n")
        *whole, self.kept = self.kept.split(b"\n\n")
        out = b"".join(filter(None, map(self._event, whole)))
        ended = not message.get("more_body")
        if ended:
            out += self._event(self.kept) if self.kept.strip() else b""
            out += self._rest()
            self.ended(self.counts)
        if out or ended:
            await self.send({"type": "http.response.body", "body": out, "more_body": not ended})

    def _event(self, event: bytes) -> bytes:
        lines = event.strip().split(b"\n")
        if all(line.startswith(b":") for line in lines):
            return event + b"\n\n"  # a sign of life
        data = b"".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        if data == b"[DONE]":
            rest = self._rest()
            self.ended(self.counts)
            return rest + b"data: [DONE]\n\n"
        try:
            found = self._known(msgspec.json.decode(data), self._streamed)
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError):
            return b""
        telling = found.get("usage") or found.get("error") or any(_tells(choice) for choice in found.get("choices", ()))
        return b"data: " + msgspec.json.encode(found) + b"\n\n" if telling else b""

    def _streamed(self, choice: dict[str, Any], field: str, text: str) -> str:
        key = int(choice.get("index", 0)), field
        if key not in self.streams:
            self.streams[key] = Stream(self.filter, self.counts)
        return self.streams[key].feed(text)

    def _known(self, answer: dict[str, Any], cleaned: Callable[[dict[str, Any], str, str], str]) -> dict[str, Any]:
        """An answer or an event with its known fields only, their text cleaned. The end of a choice brings what was held back."""
        found = {name: answer[name] for name in HEAD if name in answer}
        if "choices" not in answer:
            return found
        found["choices"] = []
        for choice in answer["choices"]:
            kept = {name: choice[name] for name in CHOICE if name in choice}
            if isinstance(choice.get("text"), str):
                kept["text"] = cleaned(choice, "text", choice["text"])
            for part in ("message", "delta"):
                if isinstance(choice.get(part), dict):
                    said = choice[part]
                    kept[part] = {"role": said["role"]} if "role" in said else {}
                    kept[part] |= {name: cleaned(choice, name, said[name]) for name in TEXTS if isinstance(said.get(name), str)}
            index = int(choice.get("index", 0))
            if (choice.get("delta") or {}).get("content"):  # she has thought it over: what is left of the thought goes first
                for field in ("reasoning", "reasoning_content"):
                    if (index, field) in self.streams:
                        kept["delta"][field] = kept["delta"].get(field, "") + self.streams.pop((index, field)).close()
            self.heads[index] = found | {"choices": [{"index": index, "delta" if "delta" in choice else "text": {} if "delta" in choice else ""}]}
            if choice.get("finish_reason"):
                for field, text in self._closed(index):
                    place = kept if field == "text" else kept.setdefault("delta", {})
                    place[field] = place.get(field, "") + text
            found["choices"].append(kept)
        return found

    def _closed(self, index: int) -> list[tuple[str, str]]:
        keys = [key for key in self.streams if key[0] == index]
        return [(field, text) for index, field in keys if (text := self.streams.pop((index, field)).close())]

    def _rest(self) -> bytes:
        """What was held back of replies that broke off."""
        out = b""
        for index in {index for index, _ in self.streams}:
            last = self.heads[index]
            for field, text in self._closed(index):
                last.pop("usage", None)
                place = last["choices"][0] if field == "text" else last["choices"][0]["delta"]
                place[field] = text
                out += b"data: " + msgspec.json.encode(last) + b"\n\n"
        return out


def _tells(choice: dict[str, Any]) -> bool:
    said = choice.get("delta") or choice.get("message") or choice
    return bool(choice.get("finish_reason") or "role" in said or any(said.get(name) for name in TEXTS))


def counts(folder: Path) -> dict[str, int]:
    """What a server has taken out so far, by kind, and of how many replies."""
    try:
        found: dict[str, int] = msgspec.json.decode((folder / COUNTS_FILE).read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found


def said(found: dict[str, int]) -> str:
    """The counts in words."""
    kinds = ", ".join(f"{number} × {kind}" for kind, number in sorted(found.items()) if kind != "replies")
    return f"filters what it says: {kinds} taken out of {found['replies']} replies" if kinds else "filters what it says: nothing taken out so far"
