"""Every importer against damaged files: it may refuse with a sentence; it never crashes, never loses count, never repeats what people wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio.dialogue.adding import add
from studio.dialogue.importers.base import Asked
from studio.dialogue.importers.registry import FORMATS
from studio.errors import StudioError
from studio.persona.folder import Persona
from tests.dialogue.importers.conftest import FIXTURES

FILES = sorted(path for path in FIXTURES.rglob("*") if path.is_file())
JUNK = [
    *(
        b"",
        b"\0",
        b"\xff",
        b"\xc3",
        b'"',
        b"{",
        b"}",
        b"[" * 3000,
        b'{"a":' * 3000,
        b"null",
        b"-1e999",
        b"1" * 400,
        b'"\\ud800"',
        b"\\x1B",
        b"\n",
        b"\r",
    ),
    *(b": ", b"\xe2\x80\x8e", b"<|im_start|>", b"<START>", b"[99/99/9999, 99:99:99] ", b"0/0/00, 0:00 - ", "\u202e".encode(), b"true", b"[]", b"{}"),
    *(b'"from":{}', b'"messages":[[]]', b"\xef\xbb\xbf"),
]
RENAMED = b'{"type":"message","from":"n%d","from_id":"u","text":"a"}'
VALUES = [b"null", b"1", b"-1", b"1e308", b"[]", b"{}", b'""', b"true", b'"x"', b"[[1]]"]


@st.composite
def mutations(draw: st.DrawFn) -> tuple[Path, bytes]:
    """A fixture with bytes flipped, pieces cut, doubled or put elsewhere, junk put in, values of JSON swapped for others."""
    path = draw(st.sampled_from(FILES))
    raw = bytearray(path.read_bytes())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.sampled_from(("flip", "cut", "junk", "junk", "double", "remove", "value", "value"))):
            case "flip" if raw:
                raw[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del raw[at:]
            case "junk":
                raw[at:at] = draw(st.sampled_from(JUNK))
            case "double":
                raw[at:at] = raw[at : at + draw(st.integers(1, 400))]
            case "remove":
                del raw[at : at + draw(st.integers(1, 200))]
            case "value":
                values = list(re.finditer(rb':\s*("(?:[^"\\]|\\.)*"|-?\d+|true|false|null|\[|\{)', raw))
                if values:
                    found = draw(st.sampled_from(values))
                    raw[found.start(1) : found.end(1)] = draw(
                        st.sampled_from([b"null", b"1", b"-1", b"1e308", b"[]", b"{}", b'""', b"true", b'"x"', b"[[1]]"])
                    )
    return path, bytes(raw)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(mutated=mutations(), forced=st.sampled_from(["", "", ""] + [format_.name for format_ in FORMATS]))
def test_no_damage_crashes_an_importer(mira: Persona, tmp_path: Path, mutated: tuple[Path, bytes], forced: str) -> None:
    path, raw = mutated
    copy = tmp_path / path.name
    copy.write_bytes(raw)
    try:
        report = add(mira, [copy], Asked(format=forced, dates="dmy", character=("*",)), dry_run=True)
    except StudioError as error:
        sentence = str(error)
        assert path.name in sentence
    else:
        assert report.read == report.used + report.dropped.total()
        assert all(part.read == part.used + part.dropped.total() and part.read + part.used >= 0 for part in report.parts)
        assert all(fault.file == str(copy) and fault.what for fault in report.faults)
        sentence = " ".join(fault.what for fault in report.faults)
    assert not any(secret in sentence for secret in SECRETS), "what people wrote stays out of what is told about it"


SECRETS = ("sulks", "thinking", "Mind the step", "gull", "第九盏", "The ninth", "key hangs", "Gulls")
"""Words that stand only in what people say in the fixtures."""


@pytest.mark.parametrize("format_", [format_.name for format_ in FORMATS])
def test_every_format_refuses_every_other_file_in_words(mira: Persona, format_: str) -> None:
    """Forced onto the wrong file, an importer reads what it can and accounts for the rest."""
    for path in FILES:
        try:
            report = add(mira, [path], Asked(format=format_, dates="dmy", character=("*",)), dry_run=True)
        except StudioError as error:
            assert path.name in str(error)
        else:
            assert report.read == report.used + report.dropped.total() and report.read, (format_, path.name)


def test_deep_nesting_long_lines_and_many_faults(mira: Persona, tmp_path: Path) -> None:
    for name, raw in (
        ("deep.json", b'{"messages":' * 200_000),
        ("deep.jsonl", b"[" * 500_000),
        ("long.txt", b"6/13/25, 9:58 PM - " + b"a" * 1_000_000),
        ("colons.txt", b"a: " * 300_000),
        ("brackets.txt", b"MIRA: x\nTOM: y\nMIRA: z\nTOM: " + b"(a) [b] " * 30_000),
        ("heads.txt", b"6/13/25, 9:58 PM - Tom: <\n" * 20_000),
        ("faults.jsonl", b'{"mes\n' * 100_000),
        ("quote.csv", b'speaker,text\nMira,"' + b"x,y\n" * 50_000),
        ("escapes.json", b'{"name":"x","type":"y","id":1,"messages":["' + b"\\x1B" * 100_000 + b'"]}'),
        ("one_message.txt", b"6/13/25, 9:58 PM - Tom: x\n" + b"y\n" * 300_000),
        ("bare.txt", b"6/13/25, 9:58 PM - Tom: x\n" + b"6/13/25, 9:58 PM y\n" * 30_000),
        ("one_side.jsonl", b'{"messages":[' + b",".join([b'{"role":"user","content":"a"}'] * 60_000) + b"]}"),
        ("one_turn.txt", b"<START>\nYou: x\nMira: y\n" + b"z\n" * 300_000),
        ("many.json", b'{"name":"x","type":"y","id":1,"messages":[' + b"1," * 300_000 + b"1]}"),
        ("game.json", b'{"text":' + b'[{"CHOICE":[' * 90 + b'[{"A":"b"}]' + b"]}]" * 90 + b"}"),
        ("names.txt", b"".join(b"6/13/25, 9:58 PM - n%d x y z w: a\n" % n for n in range(20_000))),
        (
            "renamed.json",
            b'{"name":"x","type":"y","id":1,"messages":[%s]}'
            % b",".join(b'{"type":"message","from":"n%d","from_id":"u","text":"a"}' % n for n in range(20_000)),
        ),
        ("haruhi.txt", "米拉:「好」\n".encode() * 15_000),
    ):
        path = tmp_path / name
        path.write_bytes(raw)
        report = add(mira, [path], Asked(character=("*",)), dry_run=True)
        assert report.read == report.used + report.dropped.total(), name
        assert len(report.faults) <= 20_000
