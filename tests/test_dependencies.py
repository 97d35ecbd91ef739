"""What the studio imports is installed with it."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import studio

ROOT = Path(studio.__file__).parent
ELSEWHERE = ("engines/inside_vllm", "engines/stubs")
"""Not run by the studio's own Python but by vLLM's."""
IF_THERE = {"torchao", "triton"}
"""Looked for, and done without."""


def installed() -> set[str]:
    """The studio's dependencies and theirs; without those of the tests."""
    found: set[str] = set()
    waiting: list[str] = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    while waiting:
        need = Requirement(waiting.pop())
        name = canonicalize_name(need.name)
        if name in found or not (need.marker is None or need.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            waiting += requires(name) or []
        except PackageNotFoundError:
            continue
    return found


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names - sys.stdlib_module_names - IF_THERE - {"studio"}


def test_nothing_that_is_imported_comes_with_the_tests_alone() -> None:
    from_where, there = packages_distributions(), installed()
    assert "torch" in there and "pytest" not in there
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).as_posix().startswith(ELSEWHERE):
            continue
        for name in imported(path):
            assert there & {canonicalize_name(found) for found in from_where.get(name, [])}, f"{path} imports {name}"
