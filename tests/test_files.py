"""Files that survive: atomic writes, append-only lines, torn ends, full disks."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.files import append_line, build_folder, read_lines, write_atomic


def test_a_torn_last_line_is_skipped_and_the_next_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    append_line(path, {"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "half')
    append_line(path, {"n": 3})
    assert [value["n"] for _, value in read_lines(path)] == [1, 3]


def test_line_separators_inside_a_string_do_not_split_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_line(path, {"text": "one\u2028two\u0085three"})
    assert [value["text"] for _, value in read_lines(path)] == ["one\u2028two\u0085three"]


def test_many_writers_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    code = "import sys, pathlib; from studio.files import append_line\nfor i in range(50): append_line(pathlib.Path(sys.argv[1]), {'i': i}, False)"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(list(read_lines(path))) == 200


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    """A file size limit gives the same short writes as a full disk."""
    path = tmp_path / "status.json"
    write_atomic(path, "old")
    votes = tmp_path / "votes.jsonl"
    append_line(votes, {"n": 1})
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        refused = 0
        for write in (lambda: write_atomic(path, "x" * 5000), lambda: append_line(votes, {"long": "x" * 5000})):
            try:
                write()
            except StudioError:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert path.read_text() == "old"
    assert [value for _, value in read_lines(votes)] == [{"n": 1}]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["status.json", "votes.jsonl"]


def test_a_folder_is_complete_or_absent(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), build_folder(tmp_path / "model") as building:
        (building / "weights").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with build_folder(tmp_path / "model") as building:
        (building / "weights").write_text("whole")
    with pytest.raises(StudioError, match="exists already"), build_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "model" / "weights").read_text() == "whole"


def test_what_a_killed_builder_left_is_removed_and_what_is_being_built_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from studio.files import build_folder\n"
        "with build_folder(Path(sys.argv[1])) as building:\n"
        "    (building / 'weights').write_text('half'); print(building.name, flush=True); sys.stdin.read()"
    )
    builders = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("killed", "alive")
    ]
    killed, alive = (builder.stdout.readline().strip() for builder in builders if builder.stdout)
    builders[0].kill()
    builders[0].wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([killed, alive])
    with build_folder(tmp_path / "third"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive, "third"])
    builders[1].communicate()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "third"] and (tmp_path / "alive" / "weights").read_text() == "half"
