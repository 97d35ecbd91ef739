"""Conversations written by a model over real HTTP: asked for in one schema, checked like everything else, marked for ever, never lost."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from studio.dialogue import synth
from studio.dialogue.build import build
from studio.dialogue.formats import Message
from studio.dialogue.store import Row, row_id, rows
from studio.errors import StudioError
from studio.files import read_lines
from studio.persona.folder import Persona
from studio.shards import append_rows

WORDS = "lamp ferry dusk keeper quiet storm kettle water stone bridge letter window goose kite ledger umbrella plum bell glove coat pier rope"


class Writer:
    """An endpoint that writes conversations as its ``script`` says: ``good``, or what is wrong with an answer."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.script: list[str] = []
        self.dies_after = 10**9
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.requests.append(asked)
                    outer.keys.add(self.headers.get("Authorization", ""))
                    number = len(outer.requests)
                body = json.dumps(outer.answer(asked, number)).encode()
                self.send_response(200 if number <= outer.dies_after else 503)
                self.end_headers()
                self.wfile.write(body if number <= outer.dies_after else b'{"error":{"message":"out of order"}}')

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def answer(self, asked: dict[str, Any], number: int) -> dict[str, Any]:
        kind = self.script[number - 1] if number <= len(self.script) else "good"
        wanted = asked["response_format"]["json_schema"]["schema"]["properties"]["exchanges"]["minItems"]
        drawn = random.Random(asked["seed"] if kind != "same" else 1)
        said = [
            {
                "user": f"{' '.join(drawn.choices(WORDS.split(), k=9)).capitalize()}?",
                "character": f"The {' '.join(drawn.choices(WORDS.split(), k=14))}.",
            }
            for _ in range(wanted if kind != "same" else 4)
        ]
        if kind == "slop":
            said[1]["character"] = "As an AI language model, I cannot feel the storm, but feel free to ask."
        text = json.dumps({"exchanges": said}) if kind != "prose" else "Sure! Here is a conversation."
        return {"choices": [{"message": {"content": text[:40] if kind == "cut" else text}, "finish_reason": "length" if kind == "cut" else "stop"}]}


@pytest.fixture
def writer() -> Iterator[Writer]:
    found = Writer()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def grounded(persona: Persona, lore_text: str) -> Persona:
    (persona.lore / "harbour.md").write_text(lore_text, encoding="utf-8")
    messages = [
        [Message("user", f"Is the {w} dry?"), Message("assistant", f"The {w} has been dry since the flood year, number {n}.")]
        for n, w in enumerate(WORDS.split())
    ]
    append_rows(persona.dialogue, [Row(row_id(m), m, "real.jsonl", n) for n, m in enumerate(messages, 1)])
    return persona


def test_whole_conversations_out_of_one_structured_answer(grounded: Persona, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_EXTERNAL_KEY", "sk-very-secret")
    writer.script = ["good", "cut", "slop", "prose", "good", "good", "same", "same"]
    monkeypatch.setattr(synth, "STREAMS", 1)
    told = synth.synthesize(grounded, writer.url, "org/Writer-1", 8)
    assert (told.asked, told.kept) == (8, 4)
    assert told.dropped["cut off at the length limit"] == told.dropped["not the JSON that was asked for"] == 1
    assert told.dropped["the same conversation is here already"] == 1
    assert [why for why in told.dropped if why.startswith("flagged: ")] and sum(told.dropped.values()) == 4
    made = [row for row in rows(grounded) if row.made]
    assert [row.id for row in made] == told.rows and {row.made for row in made} == {"synthetic"}
    assert all(row.source == told.source and 4 <= len(row.replies) <= 6 for row in made)
    assert told.share == pytest.approx(4 / (len(WORDS.split()) + 4), abs=1e-3)

    asked = writer.requests[0]
    form = asked["response_format"]["json_schema"]["schema"]
    text = form["properties"]["exchanges"]["items"]["properties"]["character"]
    assert "maxLength" not in text and "{" not in text["pattern"]  # counting takes vLLM's grammar minutes
    assert asked["max_tokens"] == form["properties"]["exchanges"]["maxItems"] * 2 * (synth.LONGEST[0] // 4 + 20)
    assert re.fullmatch(text["pattern"], "坐。 👩‍👩‍👧") and not re.fullmatch(text["pattern"], "a\x1bb")
    assert len(writer.requests) == 8 and len({one["messages"][0]["content"] for one in writer.requests}) == 8
    assert "the ferry of" in asked["messages"][0]["content"] and "dry since the flood year" in asked["messages"][0]["content"]
    assert writer.keys == {"Bearer sk-very-secret"}
    kept = [path for path in grounded.root.rglob("*") if path.is_file() and b"sk-very-secret" in path.read_bytes()]
    assert not kept
    line = made[1].line
    assert json.loads((grounded.sources / told.source).read_text().split("\n")[line - 1])["number"] == 4


def test_a_batch_that_broke_off_goes_on_where_it_stood(grounded: Persona, writer: Writer) -> None:
    writer.dies_after = 5
    with pytest.raises(StudioError, match=r"5 of 12 conversations were written; 5 of them were taken"):
        synth.synthesize(grounded, writer.url, "writer", 12)
    assert sum(row.made == "synthetic" for row in rows(grounded)) == 5
    writer.dies_after = 10**9
    before = len(writer.requests)
    told = synth.synthesize(grounded, writer.url, "writer", 12)
    assert (told.there, told.asked, told.kept) == (5, 7, 7) and len(writer.requests) == before + 7
    assert synth.synthesize(grounded, writer.url, "writer", 12).asked == 0
    numbers = [value["number"] for _, value in read_lines(grounded.sources / told.source)]
    assert sorted(numbers) == list(range(12))
    # Killed after the answer and before it was taken: the next run takes it, once.
    taken = (grounded.sources / told.source).with_suffix(".taken")
    taken.write_text("\n".join(taken.read_text().split("\n")[:-3]) + "\n")
    again = synth.synthesize(grounded, writer.url, "writer", 12)
    assert again.kept == 0 and sum(row.made == "synthetic" for row in rows(grounded)) == 12


def test_its_share_is_visible_at_the_build_and_can_be_held_down(grounded: Persona, writer: Writer) -> None:
    synth.synthesize(grounded, writer.url, "writer", 12)
    snapshot = build(grounded)
    assert snapshot.card["train"]["synthetic"] == 12 and snapshot.card["val"]["synthetic"] == 0
    lower = build(grounded, ratios={"is:synthetic": 0.2})
    both = lower.card["train"]["synthetic"] / (lower.train_rows + lower.val_rows)
    assert both == pytest.approx(0.2, abs=0.04)


def test_without_lore_or_with_a_key_in_the_address_it_says_so(persona: Persona) -> None:
    with pytest.raises(StudioError, match="no lore"):
        synth.synthesize(persona, "http://127.0.0.1:1/v1", "m", 1)
    with pytest.raises(StudioError, match="holds a name or a password"):
        synth.synthesize(persona, "http://me:pw@127.0.0.1:1/v1", "m", 1)
    with pytest.raises(StudioError, match="is no address"):
        synth.synthesize(persona, "file:///etc", "m", 1)
