"""The one thread that runs the models: requests take turns token by token, so that all replies stream at once.

Each request keeps its own cache and is computed alone, in a batch of one: its numbers do not depend on its neighbours.
"""

from __future__ import annotations

import secrets
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from studio.engines.embedded.models import Weights
from studio.engines.embedded.protocol import Sampling
from studio.engines.embedded.sampling import Draw, log_probability
from studio.engines.embedded.textstream import TextStream

CHUNK = 256
"""Prompt tokens read in one turn: a long prompt does not hold up the replies beside it."""


class TokenInfo(NamedTuple):
    """One token's log-probability (raw, before temperature), and the likeliest in its place."""

    token: int
    logprob: float
    top: list[tuple[int, float]]


class Event(NamedTuple):
    """What a job tells its request."""

    text: str = ""
    infos: tuple[TokenInfo, ...] = ()
    finish: str = ""
    """``stop``, ``length`` or ``error``: the last event."""
    error: str = ""
    tokens: int = 0
    """Tokens drawn so far."""


class Job:
    """A request in the worker: advanced by ``step`` until ``done``."""

    def __init__(self, weights: Weights, name: str, prompt: list[int], tell: Callable[[Event], None]) -> None:
        self.weights, self.name, self.prompt, self.tell = weights, name, prompt, tell
        self.cache: Any = None
        self.read = 0
        self.cancelled = False
        self.done = False

    def forward(self, ids: list[int], keep: int) -> torch.Tensor:
        """Logits of the last ``keep`` of ``ids``, which follow what the cache holds."""
        inputs = torch.tensor([ids], device=self.weights.device)
        out = self.weights.model(input_ids=inputs, past_key_values=self.cache, use_cache=True, logits_to_keep=keep)
        self.cache = out.past_key_values
        logits: torch.Tensor = out.logits[0]
        return logits[-keep:]

    def step(self) -> None:
        raise NotImplementedError


class Generation(Job):
    """Draws a reply."""

    def __init__(
        self, weights: Weights, name: str, prompt: list[int], tell: Callable[[Event], None], asked: Sampling, limit: int, logprobs: int | None
    ) -> None:
        super().__init__(weights, name, prompt, tell)
        self.limit, self.logprobs, self.asked = limit, logprobs, asked
        self.draw = Draw(asked, prompt, secrets.randbits(62) if asked.seed is None else asked.seed)
        self.text = TextStream(weights.tokenizer, asked.stops)
        self.ends = frozenset(asked.stop_token_ids) | (frozenset() if asked.ignore_eos else weights.stops)
        self.next = prompt
        self.drawn = 0
        self.waiting: list[TokenInfo] = []

    def step(self) -> None:
        part = self.next[:CHUNK] if self.weights.chunkable else self.next
        self.next = self.next[len(part) :]
        logits = self.forward(part, 1)[0].float().cpu()
        if self.next:
            return
        raw = logits.clone() if self.logprobs is not None else logits
        token = self.draw(logits, self.ends if self.drawn < self.asked.min_tokens else frozenset())
        self.drawn += 1
        if self.logprobs is not None:
            self.waiting.append(TokenInfo(token, *log_probability(raw, token, self.logprobs)))
        if token in self.ends:
            self._end("stop", self.text.close())
            return
        piece = self.text.feed(token)
        if self.text.stopped:
            self._end("stop", piece)
        elif self.drawn >= self.limit:
            self._end("length", piece + self.text.close())
        else:
            self.next = [token]
            if piece:
                self.tell(Event(piece, self._infos(), tokens=self.drawn))

    def _infos(self) -> tuple[TokenInfo, ...]:
        taken, self.waiting = tuple(self.waiting), []
        return taken

    def _end(self, finish: str, text: str) -> None:
        self.done = True
        self.tell(Event(text, self._infos(), finish, tokens=self.drawn))


class Scoring(Job):
    """Reads a fixed text and tells the log-probability of every token after the first."""

    def __init__(self, weights: Weights, name: str, prompt: list[int], tell: Callable[[Event], None], top: int) -> None:
        super().__init__(weights, name, prompt, tell)
        self.top = top

    def step(self) -> None:
        part = self.prompt[self.read : self.read + CHUNK] if self.weights.chunkable else self.prompt
        logits = self.forward(part, len(part)).float().cpu()
        following = self.prompt[self.read + 1 : self.read + len(part) + 1]
        infos = tuple(TokenInfo(token, *log_probability(row, token, self.top)) for row, token in zip(logits, following, strict=False))
        self.read += len(part)
        self.done = self.read >= len(self.prompt)
        self.tell(Event(infos=infos, finish="length" if self.done else ""))


class Worker(threading.Thread):
    """Takes jobs and advances each in turn. ``submit`` and ``cancel`` may be called from any thread."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="worker")
        self.arrived: list[Job] = []
        self.wake = threading.Condition()
        self.active = 0
        """Requests under way."""
        self.steps = 0
        """Forward passes since the start."""

    def submit(self, job: Job) -> None:
        with self.wake:
            self.arrived.append(job)
            self.wake.notify()

    @staticmethod
    def cancel(job: Job) -> None:
        job.cancelled = True

    @torch.inference_mode()
    def run(self) -> None:
        jobs: list[Job] = []
        while True:
            self.active = len(jobs)
            with self.wake:
                while not self.arrived and not jobs:
                    self.wake.wait()
                jobs.extend(self.arrived)
                self.arrived.clear()
            # Neighbours in this order share weights and adapter: the fewest switches a round.
            self.active = len(jobs)
            jobs.sort(key=lambda job: (id(job.weights), job.name))
            for job in jobs:
                if not job.cancelled:
                    self._advance(job)
            jobs = [job for job in jobs if not job.done and not job.cancelled]

    def _advance(self, job: Job) -> None:
        try:
            self.steps += 1
            job.weights.switch(job.name)
            job.step()
        except torch.OutOfMemoryError:
            job.cache = None
            torch.cuda.empty_cache()
            self._fail(job, "The GPU's memory ran out; shorten the conversation, or stop something else that uses the GPU.")
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self._fail(job, f"The model failed ({type(error).__name__}: {' '.join(str(error).split())[:200]}); see the server's log.")

    def _fail(self, job: Job, sentence: str) -> None:
        job.done = True
        job.tell(Event(finish="error", error=sentence))
