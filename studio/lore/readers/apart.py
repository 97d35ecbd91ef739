"""Readers in a process of their own: limited in memory, watched by the clock, ended by a crash without harm.

A length and msgpack each way over its pipes; the process stays for the next file until it is closed, fails, or takes too long.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec

from studio.lore.readers import Reading, Unreadable, read_here

MEMORY = 4 * 2**30
"""Bytes of address space the process may take."""

PATIENCE = 120.0
"""Seconds for any file, and one more for each 100 kB."""


class _Task(msgspec.Struct):
    reader: str
    name: str
    raw: bytes


class _Answer(msgspec.Struct):
    reading: Reading | None = None
    reason: str = ""
    sentence: str = ""
    line: int = 0


def _counter(kind: type, value: Any) -> Any:
    return Counter(value) if kind is Counter or getattr(kind, "__origin__", None) is Counter else value


class Apart:
    """A context: the process starts with the first file and ends with the block."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None, patience: float = PATIENCE) -> None:
        self.meanwhile = meanwhile
        """Called several times a second while a file is read; what it raises ends the reading."""
        self.patience = patience
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def read(self, reader: str, raw: bytes, name: str) -> Reading:
        """The reading, or Unreadable: refused by the reader, too slow, too large for its memory, or fatal to its process."""
        process = self.process = self.process or self._start()
        assert process.stdin and process.stdout
        task = msgspec.msgpack.encode(_Task(reader, name, raw))
        until = time.monotonic() + self.patience + len(raw) / 100_000
        try:
            self._send(process, struct.pack(">Q", len(task)) + task, until)
            (length,) = struct.unpack(">Q", self._receive(process, 8, until))
            answer = msgspec.msgpack.decode(self._receive(process, length, until), type=_Answer, dec_hook=_counter)
        except TimeoutError as error:
            self.close()
            raise Unreadable("took too long", f"reading it took more than {self.patience + len(raw) / 100_000:.0f} s and was given up") from error
        except msgspec.ValidationError:  # a whole answer of another shape is a fault of ours, not of the file
            self.close()
            raise
        except (EOFError, BrokenPipeError, msgspec.DecodeError) as error:
            self.close()
            raise Unreadable("damaged file", f"the {reader} library broke on it; the file is damaged or made to do that") from error
        except BaseException:
            self.close()
            raise
        if answer.reading is None:
            raise Unreadable(answer.reason, answer.sentence, answer.line)
        return answer.reading

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "studio.lore.readers.apart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def _send(self, process: subprocess.Popen[bytes], data: bytes, until: float) -> None:
        assert process.stdin
        descriptor = process.stdin.fileno()
        os.set_blocking(descriptor, False)
        view = memoryview(data)
        while view:
            self._wait(until)
            if select.select([], [descriptor], [], 0.2)[1]:
                try:
                    view = view[os.write(descriptor, view[: 1 << 20]) :]
                except BlockingIOError:
                    continue

    def _receive(self, process: subprocess.Popen[bytes], size: int, until: float) -> bytes:
        assert process.stdout
        descriptor = process.stdout.fileno()
        got = bytearray()
        while len(got) < size:
            self._wait(until)
            if select.select([descriptor], [], [], 0.2)[0]:
                piece = os.read(descriptor, min(1 << 20, size - len(got)))
                if not piece:
                    raise EOFError
                got += piece
        return bytes(got)

    def _wait(self, until: float) -> None:
        self.meanwhile()
        if time.monotonic() > until:
            raise TimeoutError


def _serve() -> None:
    """The other side: answer until the pipe closes."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while head := incoming.read(8):
        task = msgspec.msgpack.decode(incoming.read(struct.unpack(">Q", head)[0]), type=_Task)
        answer = msgspec.msgpack.encode(_answer(task))
        outgoing.write(struct.pack(">Q", len(answer)) + answer)
        outgoing.flush()


def _answer(task: _Task) -> Any:
    try:
        reading = read_here(task.reader, task.raw, task.name)
        reading.text.encode("utf-8")
        return _Answer(reading)
    except Unreadable as error:
        return _Answer(None, error.reason, str(error), error.line)
    except UnicodeEncodeError:
        return _Answer(None, "not readable as text", "its text holds characters that are none (lone surrogates); save it anew")
    except MemoryError:
        return _Answer(None, "too large", f"reading it takes more than {MEMORY >> 30} GB of memory; split it")
    except RecursionError:
        return _Answer(None, "too deeply nested", "its elements stand too deep in one another; save it anew")
    except Exception as error:  # a library's own fault on a hostile file: the person gets the sentence, the next file its turn
        return _Answer(None, "damaged file", f"the {task.reader} library broke on it ({type(error).__name__}); the file is damaged")


if __name__ == "__main__":
    _serve()
