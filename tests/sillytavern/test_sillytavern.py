"""What goes to SillyTavern and what comes from there: nothing is lost, and the prompt it sends is the one that was trained on."""

import json
from pathlib import Path
from typing import Any

import pytest

from studio.checkpoints.templates import CHATML, GEMMA, LLAMA3, PLAIN, Template, render
from studio.errors import StudioError
from studio.persona.cards import Card, read_card, to_png
from studio.persona.folder import Persona
from studio.review.chats import begin_chat, read_chat
from studio.review.rounds import Sampling
from studio.sillytavern.chats import HIDDEN, export_chat, import_chat
from studio.sillytavern.lorebooks import to_character_book, to_world_info
from studio.sillytavern.presets import master_preset

TEMPLATES = (
    Template("chatml", CHATML, "<|im_end|>", "<|endoftext|>", ""),
    Template("gemma", GEMMA, "<end_of_turn>", "<eos>", "<bos>"),
    Template("llama-3", LLAMA3, "<|eot_id|>", "<|end_of_text|>", "<|begin_of_text|>"),
    Template("plain", PLAIN, "</s>", "</s>", "<s>"),
)
CHAT: list[dict[str, Any]] = [
    {"user_name": "Anna", "character_name": "Mira", "create_date": "2024-7-12@01h31m37s", "chat_metadata": {"note_prompt": "rain", "x": [1]}},
    {"name": "Mira", "is_user": False, "is_system": False, "send_date": "June 19, 2023 2:20pm", "mes": "Come in.", "extra": {"api": "vllm"}},
    {"name": "Anna", "is_user": True, "send_date": 1718000000000, "mes": "I lost a glove. 😿", "extra": {}, "unknown": {"kept": True}},
    {"name": "Note", "is_user": False, "is_system": True, "mes": "*the lamp flickers*"},
    {
        "name": "Mira",
        "is_user": False,
        "mes": "Which hand?",
        "swipe_id": 1,
        "swipes": ["No.", "Which hand?"],
        "swipe_info": [{"extra": {"model": "a"}}, {"extra": {"model": "b"}}],
    },
    {"name": "Mira", "is_user": False, "mes": {"message": "左手?"}},
]


def written(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_chat_goes_in_and_out_as_it_was(persona: Persona, tmp_path: Path) -> None:
    chat, report = import_chat(persona, written(tmp_path / "a.jsonl", CHAT))
    assert (report.kept, report.read, dict(report.speakers)) == (5, 5, {"Mira": 3, "Anna": 1, "Note": 1})
    assert [m.role for m in chat.messages] == ["assistant", "user", HIDDEN, "assistant", "assistant"]
    again = read_chat(persona, chat.id)  # also from disk
    export_chat(persona, again, tmp_path / "b.jsonl")
    assert read(tmp_path / "b.jsonl") == CHAT
    assert [m["content"] for m in again.for_model()] == ["Come in.", "I lost a glove. 😿", "Which hand?", "左手?"]  # what is hidden is not sent


def test_an_old_group_chat_without_a_header_gets_none(persona: Persona, tmp_path: Path) -> None:
    chat, _ = import_chat(persona, written(tmp_path / "a.jsonl", CHAT[1:]))
    export_chat(persona, chat, tmp_path / "b.jsonl")
    assert read(tmp_path / "b.jsonl") == CHAT[1:]


def test_what_is_said_here_goes_on_in_the_exported_chat(persona: Persona, tmp_path: Path) -> None:
    chat, _ = import_chat(persona, written(tmp_path / "a.jsonl", CHAT))
    chat.add("user", "The left one.")
    chat.add("assistant", "Then look right.", "stop")
    assert export_chat(persona, chat, tmp_path / "b.jsonl") == 7
    lines = read(tmp_path / "b.jsonl")
    assert lines[: len(CHAT)] == CHAT
    assert lines[-2]["is_user"] and lines[-2]["mes"] == "The left one."
    assert not lines[-1]["is_user"] and lines[-1]["swipes"] == ["Then look right."] and lines[-1]["name"] == persona.manifest.character.name


def test_a_chat_of_our_own_gets_a_header(persona: Persona, tmp_path: Path) -> None:
    chat = begin_chat(persona, "sft-1-e2")
    chat.add("user", "Tea?")
    chat.add("assistant", "Always.", "stop")
    export_chat(persona, chat, tmp_path / "c.jsonl")
    header, asked, said = read(tmp_path / "c.jsonl")
    assert header["character_name"] == persona.manifest.character.name and "mes" not in header
    assert asked["mes"] == "Tea?" and said["extra"] == {"model": "sft-1-e2"}


def test_damaged_lines_are_named_and_the_rest_is_kept(persona: Persona, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [CHAT[0], CHAT[1], '{"name": "Mira", "mes": "torn', {"no": "message"}])
    chat, report = import_chat(persona, path)
    assert len(chat.messages) == 1 and report.dropped == {"damaged line": 1, "no message": 1}
    assert [fault.line for fault in report.faults] == [3, 4]


@pytest.mark.parametrize("lines", [[], [CHAT[0]], ["not json"], [{"messages": []}]])
def test_what_is_no_chat_is_refused_and_leaves_nothing(persona: Persona, tmp_path: Path, lines: list[Any]) -> None:
    with pytest.raises(StudioError, match="is no SillyTavern chat"):
        import_chat(persona, written(tmp_path / "a.jsonl", lines))
    assert not list(persona.chats.glob("*"))


def joined(preset: dict[str, Any], messages: list[tuple[str, str]], system: str) -> str:
    """The prompt as SillyTavern puts it together from the presets (instruct-mode.js), names off and wrap off."""
    instruct = preset["instruct"]
    assert instruct["wrap"] is False and instruct["names_behavior"] == "none"
    story = preset["context"]["story_string"]
    if story:
        opened, closed = "{{#if system}}", "{{/if}}"
        assert story.startswith(opened) and story.endswith(closed)
        story = story[len(opened) : -len(closed)].replace("{{system}}", system) if system else ""
    text = story
    first = True
    for role, content in messages:
        side = "input" if role == "user" else "output"
        prefix = instruct[f"{side}_sequence"]
        if first:
            prefix = instruct[f"first_{side}_sequence"] or prefix
        first = False
        text += prefix + content + instruct[f"{side}_suffix"]
    return text + instruct["output_sequence"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda t: t.name)
@pytest.mark.parametrize("system", ["", "You are Mira, who keeps the lamp."])
def test_sillytavern_sends_what_was_trained(template: Template, system: str) -> None:
    talk = [("user", "I lost a glove."), ("assistant", "Which hand?"), ("user", "左手。")]
    preset = master_preset("Mira", template, system, Sampling(), 4096)
    messages = [*([{"role": "system", "content": system}] if system else []), *({"role": r, "content": c} for r, c in talk)]
    trained = render(template, messages, add_generation_prompt=True)
    assert template.bos_token + joined(preset, talk, system) == trained  # the server adds the beginning of a document
    assert preset["instruct"]["stop_sequence"] == template.end_of_turn
    assert preset["preset"]["temp"] == Sampling().temperature and preset["preset"]["genamt"] == Sampling().max_tokens


def test_a_template_that_cannot_be_said_is_refused() -> None:
    counting = (
        "{% for m in messages %}[{{ loop.index }} of {{ messages|length }}] {{ m['content'] }}\n{% endfor %}{{ '> ' if add_generation_prompt }}"
    )
    with pytest.raises(StudioError, match="chat completion"):
        master_preset("Mira", Template("own", counting, "\n", "</s>", ""), "", Sampling(), 4096)


CARD = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "Mira",
        "description": "Keeps the lamp. 灯",
        "personality": "",
        "scenario": "",
        "first_mes": "Come in.",
        "mes_example": "",
        "assets": [{"type": "icon", "uri": "ccdefault:", "name": "main", "ext": "png"}],
        "extensions": {"depth_prompt": {"prompt": "x"}, "unknown/tool": [1, {"a": None}]},
        "group_only_greetings": [],
        "creator_notes_multilingual": {"zh": "灯"},
        "a field of tomorrow": 7,
    },
    "outside": {"kept": True},
}


def test_a_card_goes_through_a_picture_without_loss(tmp_path: Path) -> None:
    path = tmp_path / "card.png"
    path.write_bytes(to_png(Card(CARD)))
    back = read_card(path)
    for key, value in CARD["data"].items():  # type: ignore[attr-defined]
        assert back.data[key] == value, key
    assert back.raw["outside"] == {"kept": True} and back.raw["spec"] == "chara_card_v3"
    again = to_png(back, path.read_bytes())
    assert len(again) == len(path.read_bytes()) and again.count(b"chara\0") == 1 and again.count(b"ccv3\0") == 1


def test_a_picture_has_the_v2_card_for_older_programs_too() -> None:
    import base64
    import re

    raw = to_png(Card(CARD))
    found = re.search(rb"tEXtchara\0([A-Za-z0-9+/=]+)", raw)
    assert found
    old = json.loads(base64.b64decode(found[1]))
    assert old["spec"] == "chara_card_v2" and old["data"]["description"] == "Keeps the lamp. 灯" and old["data"]["alternate_greetings"] == []


def test_a_v1_card_becomes_v2_and_v3_with_what_stood_beside_it() -> None:
    v1 = {
        "name": "Mira",
        "description": "d",
        "personality": "p",
        "scenario": "",
        "first_mes": "Hi",
        "mes_example": "",
        "chat": "Mira - 1",
        "talkativeness": "0.5",
    }
    for version in (2, 3):
        made = Card(v1).as_spec(version)  # type: ignore[arg-type]
        assert made["data"]["first_mes"] == "Hi" and made["data"]["tags"] == [] and made["chat"] == "Mira - 1" and made["talkativeness"] == "0.5"


@pytest.mark.parametrize("picture", [b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 5])
def test_a_picture_that_is_none_is_refused(picture: bytes) -> None:
    with pytest.raises(StudioError, match="picture for the card"):
        to_png(Card(CARD), picture)


WORLD = {
    "name": "The lane",
    "entries": {
        "0": {
            "uid": 0,
            "key": ["lamp", "灯"],
            "keysecondary": ["night"],
            "comment": "The lamp",
            "content": "@@depth 4\nIt never goes out.",
            "constant": False,
            "selective": True,
            "order": 90,
            "position": 4,
            "depth": 4,
            "disable": False,
            "probability": 40,
            "useProbability": True,
            "caseSensitive": None,
        },
        "7": {
            "uid": 7,
            "key": [],
            "keysecondary": [],
            "comment": "",
            "content": "Rain.",
            "constant": True,
            "disable": True,
            "order": 1,
            "position": 1,
        },
    },
    "extra": {"kept": 1},
}


def test_world_info_becomes_a_lorebook_and_comes_back_as_it_was() -> None:
    book = to_character_book(WORLD)
    assert [e["keys"] for e in book["entries"]] == [["lamp", "灯"], []] and [e["enabled"] for e in book["entries"]] == [True, False]
    assert to_world_info(json.loads(json.dumps(book))) == WORLD


def test_an_entry_edited_in_the_card_is_edited_in_the_world_info() -> None:
    book = to_character_book(WORLD)
    book["entries"][0]["content"] = "It went out once."
    back = to_world_info(book)
    assert back["entries"]["0"] == {**WORLD["entries"]["0"], "content": "It went out once."}  # type: ignore[index]


def test_a_cards_own_lorebook_is_written_as_world_info() -> None:
    entry = {
        "keys": ["goose"],
        "content": "It bites.",
        "extensions": {"position": 1, "x": 2},
        "enabled": True,
        "insertion_order": 5,
        "position": "after_char",
    }
    world = to_world_info({"name": "", "entries": [entry], "extensions": {}})
    made = world["entries"]["0"]
    assert made["key"] == ["goose"] and made["position"] == 1 and made["extensions"] == {"position": 1, "x": 2} and made["disable"] is False


def test_nothing_in_the_sample_card_is_lost(tmp_path: Path) -> None:
    card = read_card(Path(__file__).parents[2] / "personas" / "wen" / "card.json")
    path = tmp_path / "wen.png"
    path.write_bytes(to_png(card))
    assert read_card(path).data == {"group_only_greetings": [], **card.data}
