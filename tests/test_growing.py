"""What is kept of a growing file is what stands in it, whoever writes it and whenever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio import growing
from studio.files import append_line, read_lines
from studio.growing import grown


class Row(msgspec.Struct):
    n: int


def numbers(path: Path) -> list[int]:
    return [row.n for row in grown(path, Row)]


pieces = st.lists(
    st.sampled_from([b'{"n":1}\n', b'{"n":22}\n', b'{"n":', b"3}", b"\n", b"torn", b'{"other":1}\n', "{\u2028}\n".encode()]), max_size=25
)


@settings(max_examples=150, deadline=None)
@given(pieces)
def test_after_every_write_it_is_what_a_whole_reading_gives(tmp_path_factory: pytest.TempPathFactory, written: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("growing") / "rows.jsonl"
    for piece in written:
        with path.open("ab") as file:
            file.write(piece)
        whole = [value["n"] for _, value in read_lines(path) if isinstance(value, dict) and "n" in value]
        assert numbers(path) == whole


def test_what_another_process_appends_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert numbers(path) == []
    append_line(path, Row(1))
    assert numbers(path) == [1]
    code = f"from studio.files import append_line; append_line(__import__('pathlib').Path({str(path)!r}), {{'n': 2}})"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert numbers(path) == [1, 2]


@pytest.mark.parametrize("after", [b'{"n":7}\n{"n":2}\n', b'{"n":7}\n', b'{"n":7}\n{"n":8}\n{"n":9}\n', b""])
@pytest.mark.parametrize("replace", [True, False])
def test_a_file_that_was_edited_is_read_anew(tmp_path: Path, after: bytes, replace: bool) -> None:
    """In place, where the size may stay the same, or as another file of the same name."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n":1}\n{"n":2}\n')
    assert numbers(path) == [1, 2]
    if replace:
        (tmp_path / "new").write_bytes(after)
        os.replace(tmp_path / "new", path)
    else:
        path.write_bytes(after)
    os.utime(path, ns=(1, 1))
    assert numbers(path) == [value["n"] for _, value in read_lines(path)]


def test_a_file_that_went_is_empty_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_line(path, Row(1))
    assert numbers(path) == [1]
    path.unlink()
    assert numbers(path) == []
    append_line(path, Row(5))
    assert numbers(path) == [5]


def test_a_vote_later_nothing_old_is_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    for n in range(50):
        append_line(path, Row(n), durable=False)
    assert len(numbers(path)) == 50
    parsed: list[bytes] = []
    whole = growing._Grown._decode
    monkeypatch.setattr(growing._Grown, "_decode", lambda self, line: (parsed.append(line), whole(self, line))[1])
    append_line(path, Row(50))
    assert numbers(path)[-1] == 50
    assert [line for line in parsed if line] == [b'{"n":50}']


def test_many_threads_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    seen: list[list[int]] = []

    def read() -> None:
        for _ in range(50):
            seen.append(numbers(path))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(50):
        append_line(path, Row(n), durable=False)
    for thread in threads:
        thread.join()
    assert all(row == list(range(len(row))) for row in seen)
