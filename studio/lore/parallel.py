"""Parallel translations: which files tell the same text in several languages, and which paragraphs of them belong together.

Known by their names (``tale.en.md``, ``tale.zh.md``), declared (``lore/parallel.toml``), or recognised by what stays the same in every
language: how many paragraphs there are and how long, the numbers in them, the names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from math import log
from typing import NamedTuple

import msgspec
import tomli_w

from studio.errors import StudioError
from studio.files import write_atomic
from studio.lore.names import split_name
from studio.lore.passages import Block, Passage, is_head, passages, weight
from studio.persona.folder import Persona

LEAST_ANCHORS = 8
"""Numbers and names that two files must share in one order before they are taken for translations of each other."""

SAME_ORDER = 0.7
"""Share of the anchors of the poorer file that stand in the same order in the other."""

SKIPPED = 2.2
"""What leaving a paragraph without a counterpart costs; two counterparts of double the length cost 0.7."""

MERGED = 0.5
"""What one paragraph against two costs beyond their lengths."""

BAND = 60
"""Paragraphs by which two translations may be apart from the diagonal between two heads."""

WORST = 0.9
"""Mean cost a paragraph above which two files are no paragraph-by-paragraph translation."""


class Family(NamedTuple):
    """One work in several languages."""

    name: str
    files: dict[str, str]
    """Lore file by language (or by its own name where the language is unclear)."""
    how: str
    """``name``, ``declared`` or ``recognised``; empty: a work in one language."""


def declared(persona: Persona) -> list[list[str]]:
    """The groups of ``lore/parallel.toml``; StudioError when it cannot be read."""
    path = persona.lore / "parallel.toml"
    if not path.is_file():
        return []
    try:
        groups = msgspec.toml.decode(path.read_bytes()).get("together", [])
        return [[str(file) for file in group["files"]] for group in groups]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise StudioError(
            f'{path} cannot be read ({error}); it holds [[together]] tables with files = ["a.md", "b.md"]; mend or delete it.'
        ) from error


def declare(persona: Persona, names: Sequence[str], apart: bool = False) -> list[list[str]]:
    """Say that files are translations of each other (or, ``apart``, that they are not said to be any more). Returns all groups."""
    from studio.lore.sources import lore_file

    wanted = [str(lore_file(persona, name).relative_to(persona.lore)) for name in names]
    if len(set(wanted)) < 2 and not apart:
        raise StudioError("A translation needs two files: studio lore parallel FILE FILE.")
    with persona.exclusive():
        groups = [[file for file in group if file not in wanted] for group in declared(persona)] if apart else declared(persona)
        if not apart:
            touched = [group for group in groups if set(group) & set(wanted)]
            joined = list(dict.fromkeys([file for group in touched for file in group] + wanted))
            groups = [group for group in groups if group not in touched] + [joined]
        groups = [group for group in groups if len(group) > 1]
        path = persona.lore / "parallel.toml"
        if groups:
            write_atomic(path, "# Files that are translations of each other.\n" + tomli_w.dumps({"together": [{"files": group} for group in groups]}))
        else:
            path.unlink(missing_ok=True)
    return groups


# ------------------------------------------------------------------------------------------------ families


class Traits(msgspec.Struct):
    """What a translation is recognised by."""

    marks: list[str]
    """Numbers in their order."""
    weight: int
    paragraphs: int


def traits_of(blocks: Sequence[Block]) -> Traits:
    return Traits(anchors(blocks), sum(weight(block.text) for block in blocks), len(blocks))


def families(texts: Mapping[str, Traits], said: Sequence[Sequence[str]], language: Callable[[str], str]) -> list[Family]:
    """Every file in exactly one family, in the order of their first files. ``language`` gives that of a file, if it comes to that."""
    left = list(texts)
    found: dict[int, Family] = {}

    def take(members: list[str], how: str) -> None:
        by_language: dict[str, str] = {}
        for file in members:
            code = split_name(file)[1] or language(file)
            by_language[code if code and code not in by_language else file] = file
            left.remove(file)
        found[list(texts).index(members[0])] = Family(_title(members[0]), by_language, how if len(members) > 1 else "")

    for group in said:
        if len(members := [file for file in group if file in left]) > 1:
            take(members, "declared")
    by_name: dict[str, dict[str, str]] = {}
    for file in left:
        key, code = split_name(file)
        if code:
            by_name.setdefault(key, {}).setdefault(code, file)
    for members_by_code in by_name.values():
        if len(members_by_code) > 1:
            take(list(members_by_code.values()), "name")
    for members in _recognised(texts, [*left], language):
        take(members, "recognised")
    for file in [*left]:
        take([file], "")
    return [found[place] for place in sorted(found)]


def _title(file: str) -> str:
    key, code = split_name(file)
    return key if code else file.rsplit(".", 1)[0]


MOST_RECOGNISED = 400
"""Files that are compared each with each; more are left to their names."""


def _recognised(texts: Mapping[str, Traits], files: list[str], language: Callable[[str], str]) -> list[list[str]]:
    """Groups of files in different languages whose numbers stand in the same order."""
    if not 2 <= len(files) <= MOST_RECOGNISED:
        return []
    traits = {file: texts[file] for file in files if texts[file].paragraphs >= 3 and len(texts[file].marks) >= LEAST_ANCHORS}
    codes: dict[str, str] = {}
    groups: list[list[str]] = []
    grouped: set[str] = set()
    names = list(traits)
    for place, one in enumerate(names):
        if one in grouped:
            continue
        group = [one]
        for other in names[place + 1 :]:
            if other in grouped or not _could_match(traits[one], traits[other]):
                continue
            for file in (one, other):
                if file not in codes:
                    codes[file] = language(file)
            spoken = {codes[member] for member in group}
            if codes[other] and codes[other] not in spoken and same_order(traits[one].marks, traits[other].marks):
                group.append(other)
        if len(group) > 1:
            groups.append(group)
            grouped |= set(group)
    return groups


def anchors(blocks: Sequence[Block], most: int = 400) -> list[str]:
    """The numbers of two digits and more: what a translation keeps."""
    found: list[str] = []
    for block in blocks:
        found += [match.lstrip("0") or "0" for match in re.findall(r"(?<![\w.])\d{2,6}(?![\w])", block.text)]
        if len(found) >= most:
            break
    return found[:most]


def _could_match(one: Traits, other: Traits) -> bool:
    fewer, more = sorted((one.paragraphs, other.paragraphs))
    common = sum((Counter(one.marks) & Counter(other.marks)).values())
    enough = max(LEAST_ANCHORS, SAME_ORDER * min(len(one.marks), len(other.marks)))
    return more <= 1.5 * fewer + 2 and 0.4 < one.weight / max(1, other.weight) < 2.5 and common >= enough


def same_order(one: list[str], other: list[str]) -> bool:
    matched = sum(block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks())
    return matched >= max(LEAST_ANCHORS, SAME_ORDER * min(len(one), len(other))) and len(set(one) & set(other)) >= 5


# ------------------------------------------------------------------------------------------------ alignment


def align(one: Sequence[Block], other: Sequence[Block]) -> list[tuple[int, int]] | None:
    """Pairs of paragraph indexes at which both texts may be cut, beginning with ``(0, 0)``; None if they do not go together.

    With the same number of paragraphs, each pair. Else between heads of the same order, by length and shared numbers (after Gale and Church).
    """
    if len(one) == len(other):
        return [(i, i) for i in range(len(one))]
    heads_one, heads_other = ([i for i, block in enumerate(blocks) if is_head(block.text)] for blocks in (one, other))
    corners = [(0, 0), *zip(heads_one, heads_other, strict=True)] if len(heads_one) == len(heads_other) else [(0, 0)]
    corners = sorted(set(corners))
    cuts: list[tuple[int, int]] = []
    cost = 0.0
    for (i, j), (end_i, end_j) in zip(corners, [*corners[1:], (len(one), len(other))], strict=True):
        found = _aligned(one[i:end_i], other[j:end_j])
        if found is None:
            return None
        pairs, spent = found
        cuts += [(i + a, j + b) for a, b in pairs]
        cost += spent
    return cuts if cost <= WORST * max(len(one), len(other)) else None


_BEADS = ((1, 1, 0.0), (1, 0, SKIPPED), (0, 1, SKIPPED), (2, 1, MERGED), (1, 2, MERGED), (2, 2, 2 * MERGED))


def _aligned(one: Sequence[Block], other: Sequence[Block]) -> tuple[list[tuple[int, int]], float] | None:
    """The cheapest way through two lists of paragraphs: where counterparts begin, and what it costs."""
    n, m = len(one), len(other)
    if not n or not m:
        return ([(0, 0)] if n or m else []), SKIPPED * (n + m)
    if abs(n - m) > max(3, 0.5 * max(n, m)) + 3:
        return None
    left, right = [weight(block.text) for block in one], [weight(block.text) for block in other]
    scale = sum(right) / max(1, sum(left))
    marks_one, marks_other = ([set(re.findall(r"\d+", block.text)) for block in blocks] for blocks in (one, other))
    sums_one, sums_other = _sums(left), _sums(right)
    band = BAND + abs(n - m)
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {(0, 0): (0.0, (0, 0))}
    for i in range(n + 1):
        middle = round(i * m / n)
        for j in range(max(0, middle - band), min(m, middle + band) + 1):
            state = best.get((i, j))
            if state is None:
                continue
            for a, b, extra in _BEADS:
                if i + a > n or j + b > m:
                    continue
                price = state[0] + extra
                if a and b:
                    x, y = (sums_one[i + a] - sums_one[i]) * scale, sums_other[j + b] - sums_other[j]
                    price += abs(log((y + 20) / (x + 20)))
                    marks_left, marks_right = (set().union(*marks_one[i : i + a]), set().union(*marks_other[j : j + b]))
                    if marks_left or marks_right:
                        shared = len(marks_left & marks_right) / max(1, len(marks_left | marks_right))
                        price += 0.5 - shared
                old = best.get((i + a, j + b))
                if old is None or price < old[0]:
                    best[i + a, j + b] = (price, (i, j))
    if (n, m) not in best:
        return None
    cuts: list[tuple[int, int]] = []
    at = (n, m)
    while at != (0, 0):
        before = best[at][1]
        if (before[0] < at[0] and before[1] < at[1]) or before == (0, 0):
            cuts.append(before)
        at = before
    return cuts[::-1], max(0.0, best[n, m][0])


def _sums(weights: list[int]) -> list[int]:
    found = [0]
    for each in weights:
        found.append(found[-1] + each)
    return found


class Aligned(NamedTuple):
    passages: list[Passage]
    groups: list[list[int]]
    """Passages that must stay on one side of a split."""
    loose: list[str]
    """Names of works whose translations could not be set side by side: each is one group as a whole."""


def aligned_passages(texts: Mapping[str, Sequence[Block]], works: Sequence[Family]) -> Aligned:
    """All passages of all files, translations cut at the same places and grouped."""
    found: list[Passage] = []
    groups: list[list[int]] = []
    loose: list[str] = []
    for work in works:
        members = list(work.files.values())
        pivot = members[0]
        sides = [align(texts[pivot], texts[member]) for member in members[1:]]
        if len(members) > 1 and all(side is not None for side in sides):
            maps = [dict(reversed(side)) for side in sides if side is not None]  # reversed: the first of two counterparts counts
            common = set(range(len(texts[pivot]))).intersection(*maps) if maps else set()
            cuts = [passage.first for passage in passages(pivot, texts[pivot], allowed=common)]
            parts = [
                passages(pivot, texts[pivot], cuts),
                *(_cut_like(member, texts[member], cuts, to) for member, to in zip(members[1:], maps, strict=True)),
            ]
            offsets = []
            for part in parts:
                offsets.append(len(found))
                found += part
            groups += [[offset + i for offset, part in zip(offsets, parts, strict=True) if i < len(part)] for i in range(len(cuts))]
        else:
            begin = len(found)
            for member in members:
                found += passages(member, texts[member])
            if len(members) > 1:
                groups.append(list(range(begin, len(found))))
                loose.append(work.name)
    return Aligned(found, groups, loose)


def _cut_like(file: str, blocks: Sequence[Block], cuts: Sequence[int], to: dict[int, int]) -> list[Passage]:
    """Passages at the counterparts of ``cuts``: as many as there are cuts, empty ones as well, so that the places agree."""
    begins = [0, *(to[cut] for cut in cuts[1:])]
    ends = [*begins[1:], len(blocks)]
    return [
        Passage(file, blocks[min(a, len(blocks) - 1)].line if blocks else 1, a, "\n\n".join(block.text for block in blocks[a:b]))
        for a, b in zip(begins, ends, strict=True)
    ]
