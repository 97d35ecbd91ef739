"""Tokens into text, piece by piece: never half a character, never the beginning of a stop string."""

from __future__ import annotations

from tokenizers import Tokenizer

BROKEN = "\ufffd"
"""What a decoder puts where bytes are no character (yet): a Chinese character or an emoji often spans two or three tokens."""


class TextStream:
    """Decodes one reply. ``feed`` gives the text that is certain by now, ``close`` the rest.

    A token is decoded together with the last ones, since a tokenizer may join or space tokens by their neighbours; text that ends in a
    broken character waits for the next token.
    """

    def __init__(self, tokenizer: Tokenizer, stops: list[str]) -> None:
        self.tokenizer = tokenizer
        self.stops = stops
        self.ids: list[int] = []
        self.context = 0
        """Index of the first token that is decoded again, for its effect on the next."""
        self.read = 0
        """Index of the first token whose text is not counted yet."""
        self.held = ""
        """Text that might be the beginning of a stop string."""
        self.stopped = False
        """A stop string was met; nothing after it is given."""

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _new_text(self, last: bool) -> str:
        before = self._decode(self.ids[self.context : self.read])
        after = self._decode(self.ids[self.context :])
        if after.endswith(BROKEN):
            if not last:
                return ""
            after = after.rstrip(BROKEN)  # the reply was cut inside a character: what is there of it is not text
        if len(after) <= len(before):
            return ""
        self.context, self.read = self.read, len(self.ids)
        return after[len(before) :]

    def feed(self, token: int) -> str:
        self.ids.append(token)
        return self._release(self._new_text(last=False), last=False)

    def close(self) -> str:
        """The text still held back, at the end of the reply."""
        return "" if self.stopped else self._release(self._new_text(last=True), last=True)

    def _release(self, new: str, last: bool) -> str:
        if self.stopped:
            return ""
        if not self.stops:
            return new
        text = self.held + new
        met = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if met:
            self.stopped, self.held = True, ""
            return text[: min(met)]
        keep = 0 if last else max((_overlap(text, stop) for stop in self.stops), default=0)
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0)
