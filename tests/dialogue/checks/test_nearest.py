"""From a reply to the rows it may have been learned from."""

from __future__ import annotations

import json
import random

import pytest

from studio.dialogue.nearest import Nearest, nearest, replies_of_vote, reply_of_chat, shared_runs
from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.review.chats import begin_chat
from studio.review.rounds import open_review
from tests.dialogue.checks.making import WORDS, good, put, row
from tests.review.making import add_checkpoint, played, voted


def test_the_row_a_reply_was_made_of_is_the_first(persona: Persona) -> None:
    """A hundred replies, each with half of its words of one row's and the rest drawn anew."""
    rows = good(600, seed=4)
    put(persona, rows)
    looking = Nearest(persona)
    chance = random.Random(5)
    first = 0
    for place in chance.sample(range(600), 100):
        words = rows[place].messages[3].content.split()
        start = chance.randrange(len(words) // 2 + 1)
        reply = " ".join([*chance.sample(WORDS, 4), *words[start : start + len(words) // 2], *chance.sample(WORDS, 4)])
        first += looking.find(reply, 3)[0].id == rows[place].id
    assert first >= 97


def test_what_is_shared_is_marked_in_words(persona: Persona) -> None:
    put(persona, [*good(80), row("Where?", "Third shelf, left of the brass barometer, where the cat never goes.", "Why?", "Ask the cat.")])
    (near, *_) = nearest(persona, "Oh! LEFT of the brass barometer is where I would be.", 3)
    assert (near.message, near.prompt) == (1, "Where?")
    assert [near.reply[start:stop] for start, stop in near.shared] == ["left of the brass barometer"] == near.runs
    assert 0.3 < near.covered <= 1


def test_scripts_without_spaces(persona: Persona) -> None:
    put(persona, [*good(50), row("在吗？", "登记一下，编号一万一千四百零二，放在门后第三格。"), row("谁？", "今天的风很大，你先坐下再说。")])
    (near, *_) = nearest(persona, "编号一万一千四百零二是哪一箱？", 2)
    assert near.reply.startswith("登记") and near.runs == ["编号一万一千四百零二"]


def test_nothing_shared_nothing_found_and_rejected_rows_do_not_count(persona: Persona) -> None:
    assert nearest(persona, "anything") == []
    put(persona, [row("Hm?", "Purple elephants waltz.", state="rejected"), *good(5)])
    assert nearest(persona, "ξξξξξξξ") == [] and nearest(persona, "") == []
    assert not any("Purple" in near.reply for near in nearest(persona, "Purple elephants waltz."))


def test_shared_runs_are_the_longest_and_in_no_other() -> None:
    assert shared_runs("a b c d", "x a B c y d") == [(2, 7)]
    assert shared_runs("a b", "b a") == [(0, 3)]
    assert shared_runs("q", "b a") == []


def test_replies_of_votes_and_chats_with_what_their_checkpoint_read(persona: Persona) -> None:
    folder = persona.snapshots / "dialogue-one"
    folder.mkdir(parents=True)
    trained = {
        "id": "dold",
        "source": "old.jsonl",
        "line": 7,
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Mind the goose."}],
    }
    (folder / "train.jsonl").write_text(json.dumps(trained) + "\n")
    put(persona, good(3))
    add_checkpoint(persona, "sft-1-e1", extra='snapshot = "dialogue-one"\n')
    add_checkpoint(persona, "sft-1-e2")
    review = open_review(persona, ["sft-1-e1", "sft-1-e2"])
    vote = voted(persona, review, {"sft-1-e1": "Do mind the goose.", "sft-1-e2": "No."}, "2")
    assert replies_of_vote(persona, vote.id) == replies_of_vote(persona, vote.round) == [("sft-1-e1", "dialogue-one", "Do mind the goose.")]
    unvoted = played(persona, review, {"sft-1-e1": "Do.", "sft-1-e2": "No."})
    assert len(replies_of_vote(persona, unvoted.id)) == 2
    (found,) = Nearest(persona, "dialogue-one").find("Do mind the goose.")
    assert (found.id, found.source, found.line, found.runs) == ("dold", "old.jsonl", 7, ["Mind the goose"])
    assert replies_of_vote(persona, vote.id, 2) == [("sft-1-e2", "", "No.")]
    with pytest.raises(StudioError, match="no side 3"):
        replies_of_vote(persona, vote.id, 3)
    with pytest.raises(StudioError, match="no vote"):
        replies_of_vote(persona, "nothing")
    with pytest.raises(StudioError, match="studio snapshots"):
        Nearest(persona, "dialogue-gone")
    chat = begin_chat(persona, "sft-1-e1")
    chat.add("user", "Well?")
    chat.add("assistant", "Mind it.", "stop")
    assert reply_of_chat(persona, chat.id) == ("sft-1-e1", "dialogue-one", "Mind it.")
    with pytest.raises(StudioError, match="1 repl"):
        reply_of_chat(persona, chat.id, 4)
