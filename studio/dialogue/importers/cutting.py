"""From messages in their order to rows: bursts joined, sessions split at silence, long ones cut; every message is accounted for."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from studio.dialogue.formats import Message, tidy
from studio.dialogue.importers.base import Asked, ImportReport, Said, Scene
from studio.dialogue.importers.casting import Cast
from studio.dialogue.importers.values import iso
from studio.preference.store import Pair, make_pair

ALONE = ("nobody asks", "only she speaks here")


class Turn(msgspec.Struct):
    """What one side says before the other answers."""

    role: str
    said: list[Said]
    text: str = ""


class Cut(msgspec.Struct):
    """A row before it has an id."""

    messages: list[Message]
    said: list[Said]
    """The messages it is made of, in their order."""
    time: str


class Swipes(msgspec.Struct):
    """Pairs one message makes with the replies passed over for it."""

    pairs: list[Pair]
    source: int


def chats(scenes: list[Scene], report: ImportReport) -> Iterator[Scene]:
    """Scenes of one key as one chat, in time's order where times are true; a message that two exports hold is dropped once."""
    grouped: dict[str, list[Scene]] = {}
    for number, scene in enumerate(scenes):
        grouped.setdefault(scene.key or f"\0{number}", []).append(scene)
    for parts in grouped.values():
        first = parts[0]
        said = [message for part in parts for message in part.said]
        if len(parts) > 1:
            said = list(_once(said, report))
        if first.zoned:
            said.sort(key=lambda message: message.at)
        first.said = said
        yield first


def _once(said: list[Said], report: ImportReport) -> Iterator[Said]:
    seen: set[tuple[str, float, str]] = set()
    for message in said:
        key = (message.speaker, message.at, message.id or message.text)
        if message.at >= 0 and key in seen:
            report.drop_from(report.parts[message.source], "in two exports", message.line, "the same message stands in another part of this chat")
        else:
            seen.add(key)
            yield message


class Cutter:
    """Cuts chats by one cast. What is not kept goes into the report by its reason."""

    def __init__(self, report: ImportReport, cast: Cast, asked: Asked, names: dict[str, str], persona: str, user: str) -> None:
        self.report, self.cast, self.asked, self.names = report, cast, asked, names
        self.persona, self.user = persona, user

    def cut(self, chat: Scene) -> Iterator[Cut | Swipes]:
        """The rows of a chat in their order, and the pairs its swipes make."""
        for session in self._sessions(chat):
            for turn in session:
                turn.text = self._text(turn, chat.placeholders)
            yield from self._rows(session, chat)

    def _sessions(self, chat: Scene) -> Iterator[list[Turn]]:
        silence, burst = self.asked.silence * 3600, self.asked.burst * 60
        session: list[Turn] = []
        last = -1.0
        for message in chat.said:
            role = self.cast.roles.get(message.speaker, "out")
            if role == "out":
                self._drop([message], "left out", "its speaker is left out")
                continue
            gap = message.at - last if chat.timed and last >= 0 and message.at >= 0 else 0.0
            last = message.at if message.at >= 0 else last
            again = bool(session) and session[-1].role == role
            # Somebody who writes again after a long while was not answered: that is no burst, and no turn of one breath.
            if session and (gap > silence or (again and gap > burst)):
                yield session
                session = []
            if session and session[-1].role == role:
                session[-1].said.append(message)
            else:
                session.append(Turn(role, [message]))
        if session:
            yield session

    def _text(self, turn: Turn, placeholders: bool) -> str:
        """The turn's text. Several people on the user's side are told apart by their names."""
        texts: list[str] = []
        before = ""
        for message in turn.said:
            named = message.speaker in self.cast.named and message.speaker != before
            texts.append(f"{self.names[message.speaker]}: {message.text}" if named else message.text)
            before = message.speaker
        if len(turn.said) > 1:
            self.report.parts[turn.said[0].source].changed["message of a burst joined to the one before"] += len(turn.said) - 1
        text = tidy("\n".join(texts))
        return self._filled(text, turn) if placeholders and ("{{" in text or "<" in text) else text

    def _filled(self, text: str, turn: Turn) -> str:
        """``{{char}}`` and ``{{user}}`` by the persona's names; ``You`` is no name to be called by, so it stays ``{{user}}`` for the check."""
        filled = text
        for mark, name in (("{{char}}", self.persona), ("<BOT>", self.persona), ("{{user}}", self.user), ("<USER>", self.user)):
            if name and name != "You":
                filled = filled.replace(mark, name)
        if filled != text:
            self.report.parts[turn.said[0].source].changed["placeholder filled"] += 1
        return filled

    def _rows(self, session: list[Turn], chat: Scene) -> Iterator[Cut | Swipes]:
        roles = {turn.role for turn in session}
        if roles != {"user", "assistant"}:
            silent = ("she is silent", "she says nothing in this conversation")
            self._drop([m for turn in session for m in turn.said], *(silent if roles == {"user"} else ALONE))
            return
        if session[-1].role == "user":
            self._drop(session.pop().said, "unanswered", "she does not answer it any more")
        exchanges: list[list[Turn]] = [[]]
        for turn in session:
            if turn.role == "user" and any(t.role == "assistant" for t in exchanges[-1]) and any(t.role == "user" for t in exchanges[-1]):
                exchanges.append([])
            exchanges[-1].append(turn)
        if len(exchanges[0]) == 1:
            # Only her opening, when the user's one turn was cut off: roles were checked before that.
            self._drop(exchanges[0][0].said, *ALONE)
            return
        yield from self._swipes(session)
        most = self.asked.exchanges or len(exchanges)
        rows = -(-len(exchanges) // most)
        size, larger = divmod(len(exchanges), rows)
        at = 0
        for number in range(rows):
            count = size + (number < larger)
            turns = [turn for exchange in exchanges[at : at + count] for turn in exchange]
            at += count
            said = [message for turn in turns for message in turn.said]
            yield Cut([self._message(turn) for turn in turns], said, iso(said[0].at, chat.zoned))

    def _message(self, turn: Turn) -> Message:
        speakers = {message.speaker for message in turn.said}
        name = self.names[turn.said[0].speaker] if len(speakers) == 1 else ""
        return Message(turn.role, turn.text, name)

    def _swipes(self, session: list[Turn]) -> Iterator[Swipes]:
        """What she said instead of what she also could have said, each after the turns that a row would hold before it."""
        for number, turn in enumerate(session):
            if turn.role != "assistant" or len(turn.said) != 1 or not turn.said[0].passed_over:
                continue
            first = max(0, number + 1 - 2 * (self.asked.exchanges or Asked().exchanges))
            prompt = session[first:number]
            while prompt and prompt[0].role != "user":
                prompt = prompt[1:]
            if not prompt:
                part = self.report.parts[turn.said[0].source]
                part.changed["swipes of an opening without a prompt left out"] += len(turn.said[0].passed_over)
                continue
            messages = [Message(t.role, t.text) for t in prompt]
            worse = [self._filled(tidy(text), turn) for text in turn.said[0].passed_over]
            pairs = [make_pair(messages, turn.text, text) for text in worse if text and text != turn.text]
            for pair in pairs:
                pair.line, pair.tags = turn.said[0].line, ["swipe"]
            yield Swipes(pairs, turn.said[0].source)

    def _drop(self, messages: list[Said], reason: str, what: str) -> None:
        for message in messages:
            self.report.drop_from(self.report.parts[message.source], reason, message.line, what)
