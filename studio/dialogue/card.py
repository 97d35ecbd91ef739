"""The data card of a build: what the rows are, in numbers and in words. It tells nothing that the same rows would not tell again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.text import count, one_line

if TYPE_CHECKING:
    from studio.dialogue.mixing import Traits
    from studio.snapshots import Snapshot


def counted(rows: Sequence[Traits]) -> dict[str, Any]:
    """Rows by source, language and tag, the most first, and how many a model wrote."""

    def most(found: Counter[str]) -> dict[str, int]:
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    return {
        "rows": len(rows),
        "synthetic": sum(row.synthetic for row in rows),
        "sources": most(Counter(row.source for row in rows)),
        "languages": most(Counter(row.language for row in rows)),
        "tags": most(Counter(tag for row in rows for tag in row.tags)),
    }


def in_words(name: str, snapshot: Snapshot) -> str:
    """The card as Markdown."""
    card = snapshot.card
    train, val, split = card["train"], card["val"], card["split"]
    how = {"rows": "drawn by chance", "time": "the newest", "source": "whole sources", "group": "whole groups"}[split["by"]]
    tokens = [f"{n:,}" if n is not None else "not counted" for n in (snapshot.train_tokens, snapshot.val_tokens)]
    apart = (
        "No held-out row shares a longer turn with a row to train on, is nearly the same as one (Jaccard of character 5-grams 0.7 or more), or was "
        "part of the same conversation."
    )
    if card["straddling"]:
        apart = (
            f"No held-out row shares a longer turn with a row to train on. But {card['straddling']:,} rows are nearly the same as one on the other "
            "side: the set is made by a pattern that could not be kept on one, so the validation loss flatters."
        )
    lines = [
        f"# Dialogue of {one_line(name)}: {snapshot.id}",
        "",
        "| | to train on | held out |",
        "|---|--:|--:|",
        f"| rows | {train['rows']:,} | {val['rows']:,} |",
        f"| characters | {snapshot.train_characters:,} | {snapshot.val_characters:,} |",
        f"| tokens | {tokens[0]} | {tokens[1]} |",
        f"| written by a model | {_share(train['synthetic'], train['rows'])} | {_share(val['synthetic'], val['rows'])} |",
        "",
        f"Held out: {how}, {split['val_share']:.0%} asked for, seed {split['seed']}. {apart}",
        "",
    ]
    if card["left_out"]:
        lines += ["Left out:", "", *(f"* {number:,} {reason}" for reason, number in card["left_out"].items()), ""]
    if card["ratios"]:
        lines += ["Ratios asked for: " + ", ".join(f"{one_line(key)} {share:.0%}" for key, share in card["ratios"].items()), ""]
    for title, key in (("Sources", "sources"), ("Languages", "languages"), ("Tags", "tags")):
        lines += _table(title, train[key], val[key], train["rows"])
    lines += [f"Made of {count(len(snapshot.inputs), 'file')}, whose digests stand in `snapshot.json`.", ""]
    return "\n".join(lines)


def _share(number: int, whole: int) -> str:
    return f"{number:,} ({number / whole:.1%})" if number else "0"


def _table(title: str, train: dict[str, int], val: dict[str, int], whole: int) -> list[str]:
    names = [*train, *(name for name in val if name not in train)]
    if not names:
        return []
    rows = [f"| {_cell(name)} | {_share(train.get(name, 0), whole)} | {val.get(name, 0):,} |" for name in names]
    return [f"## {title}", "", "| | to train on | held out |", "|---|--:|--:|", *rows, ""]


def _cell(name: str) -> str:
    return one_line(name).replace("|", "\\|") or "unclear"
