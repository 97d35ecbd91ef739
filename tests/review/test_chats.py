"""A chat is on disk line by line, and only grows."""

from studio.persona.folder import Persona
from studio.review.chats import begin_chat, read_chat


def test_what_is_said_is_on_disk_and_a_retake_deletes_nothing(persona: Persona) -> None:
    chat = begin_chat(persona, "sft-1-e2", {"temperature": 0.8})
    assert list(persona.chats.iterdir()) == []
    chat.add("user", "Tea?\u2028")
    chat.add("assistant", "No.", "stop")
    chat.retake()
    chat.add("assistant", "The Minister has spoken.", "stopped")
    again = read_chat(persona, chat.id)
    assert [(m.role, m.content, m.checkpoint) for m in again.messages] == [
        ("user", "Tea?\u2028", ""),
        ("assistant", "The Minister has spoken.", "sft-1-e2"),
    ]
    assert again.sampler == {"temperature": 0.8} and again.checkpoint == "sft-1-e2"
    assert chat.path is not None and len(chat.path.read_bytes().splitlines()) == 5
    assert chat.path.stat().st_mode & 0o777 == 0o600
    chat.path.write_bytes(chat.path.read_bytes()[:-9])
    assert [m.content for m in read_chat(persona, chat.id).messages] == ["Tea?\u2028"]


def test_every_chat_has_its_own_file(persona: Persona) -> None:
    one, two = begin_chat(persona, "base"), begin_chat(persona, "base")
    one.add("user", "a")
    two.add("user", "b")
    assert {p.name for p in persona.chats.iterdir()} == {"chat-1.jsonl", "chat-2.jsonl"}
    assert two.for_model("Be her.") == [{"role": "system", "content": "Be her."}, {"role": "user", "content": "b"}]
