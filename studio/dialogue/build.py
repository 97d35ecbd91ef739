"""From dialogue rows to a frozen snapshot: what is left out, how the rest is mixed, which of it is held out.

Nothing that is held out has a near duplicate, a shared turn or a part of the same conversation among what is trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from typing import Any

import msgspec

from studio.dialogue.card import counted, in_words
from studio.dialogue.mixing import Traits, mix
from studio.dialogue.store import REJECTED, SYNTHETIC, Row, rows, shards
from studio.errors import StudioError, UsageError
from studio.files import sha256_file
from studio.lore.passages import weight
from studio.persona.folder import Persona
from studio.progress import Progress, quiet
from studio.snapshots import MOST_VAL_ROWS, VAL_SHARE, Snapshot, choose_val, clusters, freeze
from studio.text import normal

SHARED_TURN = 30
"""Turns at least this heavy (Han characters count three) tie the rows that share them to one side of the split; ``Yes.`` does not."""

SPLITS = ("rows", "time", "source", "group")
"""What is held out: rows drawn by chance; the newest; whole sources; whole groups (rows with the same tag ``group:…``)."""


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """``recipes/dialogue.toml``: how a persona's dialogue is built. What a command says goes before it."""

    split: str = "rows"
    val: float = VAL_SHARE
    seed: int = 17
    mix: dict[str, float] = {}
    """Shares of the rows by what they are: ``src:NAME``, ``lang:CODE``, ``tag:NAME``, ``is:synthetic``."""


def plan_of(persona: Persona) -> Plan:
    """The persona's own plan, or the defaults. StudioError naming the file if it is not valid."""
    path = persona.recipes / "dialogue.toml"
    if not path.is_file():
        return Plan()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise StudioError(f"{path} is no plan of a build ({error}); its keys are split, val, seed and [mix].") from error


class _Item(msgspec.Struct):
    """What is remembered of a row between the first reading and the second."""

    traits: Traits
    time: str
    group: str
    family: list[str]
    """Its id and those of the rows it was split from or merged of."""
    turns: list[bytes]
    """Digests of its turns that are heavy enough to tie rows together."""


def build(
    persona: Persona,
    val_share: float | None = None,
    seed: int | None = None,
    split: str = "",
    ratios: Mapping[str, float] | None = None,
    progress: Progress = quiet,
) -> Snapshot:
    """Freeze the dialogue as it is now; what is not said is as in the persona's plan.

    Rejected rows are left out. The persona's system prompt, if it has one, is put before every conversation.
    """
    plan = plan_of(persona)
    val_share = plan.val if val_share is None else val_share
    seed = plan.seed if seed is None else seed
    split, ratios = split or plan.split, plan.mix if ratios is None else ratios
    if split not in SPLITS:
        raise UsageError(f"The split {split!r} is not known; there are: {', '.join(SPLITS)}.")
    inputs = {f"dialogue/{shard.name}": sha256_file(shard) for shard in shards(persona)}
    read = _Reading(persona, progress)
    if not read.size:
        raise StudioError(f"There is no dialogue in {persona.name} yet; add some with: studio dialogue add PATH.")
    if not read.items:
        raise StudioError(f"All {read.size:,} rows of {persona.name} are rejected; accept some, or add others.")
    kept = mix([item.traits for item in read.items], ratios, seed)
    items, texts = [read.items[i] for i in kept], [read.texts[i] for i in kept]
    ties, alike = _ties(items, texts, progress)
    read.texts.clear()
    val, unused = _held_out(items, [*ties, *alike], split, val_share, seed)
    straddling = 0
    if not val or 2 * len(unused) > len(items):
        # One pattern with other words in it all through the set: it cannot be kept on one side, which is told.
        val, unused = _held_out(items, ties, split, val_share, seed)
        straddling = sum(len(group) for group in alike if 0 < sum(i in val for i in group) < len(group))
    if not val:
        raise StudioError(f"The dialogue of {persona.name} cannot be split: all its {len(items)} rows share turns; add other conversations.")
    chosen = {read.places[kept[i]]: i in val for i in range(len(kept)) if i not in unused}
    left_out = {"rejected": read.rejected, "to keep the ratios": len(read.items) - len(kept), **Counter(unused.values())}
    sides = [[items[i] for i in range(len(items)) if i not in unused and (i in val) is side] for side in (False, True)]
    if not sides[0]:
        raise StudioError("Nothing would be left to train on; hold out less, or split by rows.")
    train_counts = counted([item.traits for item in sides[0]])
    card: dict[str, Any] = {
        "split": {"by": split, "seed": seed, "val_share": val_share},
        "ratios": dict(ratios),
        "left_out": {reason: number for reason, number in left_out.items() if number},
        "straddling": straddling,
        "train": train_counts,
        "val": counted([item.traits for item in sides[1]]),
    }
    frozen = freeze(
        persona,
        "dialogue",
        inputs,
        _Side(persona, chosen, False),
        _Side(persona, chosen, True),
        lambda row: [message["content"] for message in row["messages"]],
        seed,
        val_share,
        {
            "rows that share turns": len({i for group in ties for i in group}),
            "rows that are nearly the same as others": len({i for group in alike for i in group}),
            "of these, rows with such a one on the other side (the validation flatters them)": straddling,
            "synthetic rows to train on": train_counts["synthetic"],
            **{f"left out: {reason}": number for reason, number in left_out.items() if number},
        },
        progress,
        (card, lambda snapshot: in_words(persona.name, snapshot)),
    )
    if inputs != {f"dialogue/{shard.name}": sha256_file(shard) for shard in shards(persona)}:
        raise StudioError("The dialogue was changed while it was being built; build it again.")
    return frozen


class _Reading:
    """The first reading: what the split needs to know of every row that is not rejected."""

    def __init__(self, persona: Persona, progress: Progress) -> None:
        from studio.lore.languages import spoken

        self.items: list[_Item] = []
        self.texts: list[str] = []
        self.places: list[int] = []
        """How many rows stand before it in the dialogue."""
        self.rejected = self.size = 0
        for place, row in enumerate(rows(persona)):
            self.size += 1
            if place % 10_000 == 0 and place:
                progress("rows read", place, place)
            if row.state == REJECTED:
                self.rejected += 1
                continue
            turns = {normal(m.content) for m in row.messages if m.role != "system"}
            traits = Traits(row.id, row.source, spoken(" ".join(row.replies)[:400]), row.made == SYNTHETIC, tuple(row.tags))
            group = next((tag for tag in row.tags if tag.startswith("group:")), "")
            heavy = [blake2b(turn.encode("utf-8", "replace"), digest_size=12).digest() for turn in turns if weight(turn) >= SHARED_TURN]
            self.items.append(_Item(traits, row.time, group, [row.id, *row.of], heavy))
            self.texts.append("\n".join(m.content for m in row.messages if m.role != "system"))
            self.places.append(place)


def _ties(items: Sequence[_Item], texts: Sequence[str], progress: Progress) -> tuple[list[list[int]], list[list[int]]]:
    """Groups of rows with a turn in common or of one conversation, and groups of rows that are nearly the same."""
    from studio.near import clusters as near

    holders: dict[bytes | str, list[int]] = {}
    for index, item in enumerate(items):
        keys: list[bytes | str] = [*item.turns, *item.family]
        for key in keys:
            holders.setdefault(key, []).append(index)
    return [indexes for indexes in holders.values() if len(indexes) > 1], near(texts, progress=progress)


def _held_out(items: Sequence[_Item], ties: list[list[int]], split: str, val_share: float, seed: int) -> tuple[set[int], dict[int, str]]:
    """Indexes of the rows that are held out (none: they cannot be parted), and of those that are used on neither side, with the reason."""
    tied = [cluster for cluster in clusters(len(items), ties) if len(cluster) > 1]
    unused: dict[int, str] = {}
    if split == "rows":
        # What a model wrote is no measure of her, as long as there is anything else.
        real = [i for i, item in enumerate(items) if not item.traits.synthetic]
        val = _drawn(items, real, tied, val_share, seed) or _drawn(items, list(range(len(items))), tied, val_share, seed)
    else:
        val = _whole_units(_units(items, split, seed), round(len(items) * val_share))
        if len(val) > MOST_VAL_ROWS:
            drawn = sorted(val, key=lambda i: sha256(f"{seed}:{items[i].traits.id}".encode()).digest())
            unused = dict.fromkeys(drawn[MOST_VAL_ROWS:], f"of what is held out, past the {MOST_VAL_ROWS} rows that are measured")
            val -= unused.keys()
    for cluster in tied:
        if any(i in val for i in cluster):
            unused |= {i: "too like a held-out row" for i in cluster if i not in val and i not in unused}
    return val, unused


def _drawn(items: Sequence[_Item], among: list[int], tied: list[list[int]], val_share: float, seed: int) -> set[int]:
    """Whole clusters among these rows, by a seeded hash; none if there is only one."""
    place = {index: n for n, index in enumerate(among)}
    groups = [[place[i] for i in cluster if i in place] for cluster in tied]

    def key(n: int) -> str:
        return items[among[n]].traits.id

    return {among[n] for n in choose_val(len(among), [group for group in groups if group], key, val_share, seed)}


def _units(items: Sequence[_Item], split: str, seed: int) -> list[list[int]]:
    """What is held out whole, in the order in which it is."""
    if split == "time":
        known = [i for i, item in enumerate(items) if item.time]
        if not known:
            raise StudioError("No row knows when it was said, so the newest cannot be held out; split by rows, source or group.")
        return [[i] for i in sorted(known, key=lambda i: (_when(items[i].time), items[i].traits.id), reverse=True)]
    units: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        units.setdefault(item.traits.source if split == "source" else item.group or item.traits.id, []).append(index)
    if split == "group" and not any(item.group for item in items):
        raise StudioError("No row is in a group; give rows a tag group:NAME (studio dialogue tag … --add group:NAME), or split by something else.")
    return [units[name] for name in sorted(units, key=lambda name: sha256(f"{seed}:{name}".encode()).digest())]


def _whole_units(units: list[list[int]], wanted: int) -> set[int]:
    """Units in their order until as many rows are held out as wanted; those much too large are passed over, unless all are."""
    if len(units) < 2:
        raise StudioError("All rows are of one piece by that split, so nothing can be held out; split by rows.")
    wanted = max(1, wanted)
    chosen: set[int] = set()
    for unit in units:
        if len(chosen) + len(unit) <= wanted * 1.2 + 0.5:
            chosen.update(unit)
        if len(chosen) >= wanted:
            break
    return chosen or set(sorted(units, key=len)[0])


def _when(time: str) -> float:
    """Seconds, of a time without a zone as if it were UTC; what is no time is before all others."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return float("-inf")
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


class _Side(Collection[dict[str, Any]]):
    """The rows of one side, read from disk as they are asked for."""

    def __init__(self, persona: Persona, chosen: Mapping[int, bool], side: bool) -> None:
        self.persona, self.chosen, self.side = persona, chosen, side

    def __len__(self) -> int:
        return sum(held is self.side for held in self.chosen.values())

    def __contains__(self, row: object) -> bool:
        return any(row == other for other in self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for place, row in enumerate(rows(self.persona)):
            if self.chosen.get(place) is self.side:
                yield _frozen(self.persona, row)


def _frozen(persona: Persona, row: Row) -> dict[str, Any]:
    messages = [{"role": m.role, "content": m.content} for m in row.messages]
    prompt = persona.manifest.character.system_prompt
    if prompt and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": prompt})
    frozen = {"messages": messages, "id": row.id, "source": row.source, "line": row.line, "tags": msgspec.to_builtins(row.tags)}
    return frozen | ({"made": row.made} if row.made else {})
