"""Ratios between kinds of rows: as many rows as can be had of the shares that were asked for, none of them twice.

``{"src:chat": 0.3, "lang:hu": 0.2, "is:synthetic": 0.1}``: three tenths of the rows are of sources with ``chat`` in their name, a fifth
is Hungarian, a tenth was written by a model; whatever is not named keeps its proportions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from studio.errors import StudioError, UsageError

CLOSE = 0.005
"""How far a share may be from what was asked for, after rounding to whole rows aside."""

ROUNDS = 500


class Traits(NamedTuple):
    """What ratios can ask of a row."""

    id: str
    source: str
    language: str
    synthetic: bool
    tags: tuple[str, ...]


class _Dimension(NamedTuple):
    """Kinds of rows of which a row is at most one, with their shares; the last kind is the rest."""

    names: list[str]
    of: Callable[[Traits], int]
    shares: list[float]


def read_ratio(text: str) -> tuple[str, float]:
    """``src:chat=0.3`` (or ``chat=0.3``) as written on a command line. UsageError in one sentence."""
    name, equals, share = text.rpartition("=")
    try:
        value = float(share.rstrip("%")) / (100 if share.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not equals or not name.strip() or not 0 <= value <= 1:
        raise UsageError(f"A ratio is written source=0.3, lang:hu=0.2 or is:synthetic=0.1, not {text!r}.")
    return _key(name.strip()), value


def _key(name: str) -> str:
    kind, colon, rest = name.partition(":")
    if not colon:
        return f"src:{name}"
    if kind not in ("src", "lang", "is", "tag") or not rest or (kind == "is" and rest != "synthetic"):
        raise UsageError(f"“{name}” is nothing a ratio can be of; there are src:NAME, lang:CODE, tag:NAME and is:synthetic.")
    return name


def mix(rows: Sequence[Traits], ratios: Mapping[str, float], seed: int) -> list[int]:
    """Indexes of the rows that are kept, in order. Which ones of a kind is drawn by a seeded hash of their ids.

    StudioError if there is no row of a kind, or the ratios cannot hold together.
    """
    if not ratios:
        return list(range(len(rows)))
    dimensions = _dimensions({_key(name): share for name, share in ratios.items()})
    cells: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        cells.setdefault(tuple(dimension.of(row) for dimension in dimensions), []).append(index)
    weights = {cell: float(len(members)) for cell, members in cells.items()}
    for number, dimension in enumerate(dimensions):
        for kind, share in enumerate(dimension.shares):
            if share > 0 and not any(cell[number] == kind for cell in cells):
                what = "left besides them" if kind == len(dimension.names) else f"of {dimension.names[kind]}"
                raise StudioError(f"The ratios {_said(ratios)} cannot hold: there is no row {what}.")
    # Iterative proportional fitting: each dimension in turn is scaled to its shares until all of them hold.
    for _ in range(ROUNDS):
        for number, dimension in enumerate(dimensions):
            totals = [0.0] * len(dimension.shares)
            for cell, weight in weights.items():
                totals[cell[number]] += weight
            factors = [share / total if total else 0.0 for share, total in zip(dimension.shares, totals, strict=True)]
            weights = {cell: weight * factors[cell[number]] for cell, weight in weights.items()}
    for number, dimension in enumerate(dimensions):
        for kind, share in enumerate(dimension.shares):
            if abs(sum(weight for cell, weight in weights.items() if cell[number] == kind) - share) > CLOSE:
                raise StudioError(f"The ratios {_said(ratios)} cannot hold together with the rows there are; ask for fewer of them.")
    size = min(len(cells[cell]) / weight for cell, weight in weights.items() if weight > 1e-9)
    kept: list[int] = []
    for cell, members in cells.items():
        ordered = sorted(members, key=lambda i: sha256(f"{seed}:{rows[i].id}".encode()).digest())
        kept += ordered[: int(size * weights[cell] + 1e-6)]
    return sorted(kept)


def _dimensions(ratios: Mapping[str, float]) -> list[_Dimension]:
    found: list[_Dimension] = []
    for kind in ("src", "lang"):
        named = [(name, share) for name, share in ratios.items() if name.startswith(f"{kind}:")]
        if named:
            wanted = [name.partition(":")[2] for name, _ in named]
            found.append(_Dimension([name for name, _ in named], _which(kind, wanted), _rest([share for _, share in named], named)))
    for name, share in ratios.items():
        if name.startswith(("tag:", "is:")):
            found.append(_Dimension([name], _has(name), _rest([share], [(name, share)])))
    return found


def _has(name: str) -> Callable[[Traits], int]:
    kind, _, tag = name.partition(":")
    return lambda row: 0 if (tag in row.tags if kind == "tag" else row.synthetic) else 1


def _which(kind: str, wanted: list[str]) -> Callable[[Traits], int]:
    if kind == "lang":
        return lambda row: wanted.index(row.language) if row.language in wanted else len(wanted)
    return lambda row: next((n for n, name in enumerate(wanted) if name.lower() in row.source.lower()), len(wanted))


def _rest(shares: list[float], named: list[tuple[str, float]]) -> list[float]:
    rest = 1 - sum(shares)
    if rest < -1e-9:
        raise UsageError(f"The ratios {_said(dict(named))} are more than all rows together.")
    return [*shares, rest if rest > 1e-9 else 0.0]


def _said(ratios: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={share:g}" for name, share in ratios.items())
