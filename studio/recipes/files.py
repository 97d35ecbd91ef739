"""Recipes from TOML files and ``key=value`` settings, resolved over the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import tomli_w

from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona
from studio.recipes.schema import STAGES, Recipe


def recipe_type(stage: str) -> type[Recipe]:
    if stage not in STAGES:
        raise UsageError(f"There is no stage {stage!r}; there are: {', '.join(STAGES)}.")
    return STAGES[stage]


def resolve(persona: Persona, stage: str, file: Path | None = None, settings: Iterable[str] = ()) -> Recipe:
    """Defaults, then the persona's ``recipes/STAGE.toml`` (or ``file``), then ``key=value`` settings.

    Raises StudioError naming the file or setting, the key and what is allowed.
    """
    kind = recipe_type(stage)
    path = file or persona.recipes / f"{stage}.toml"
    values: dict[str, Any] = {}
    if file or path.is_file():
        try:
            values = msgspec.toml.decode(path.read_bytes())
        except OSError as error:
            raise StudioError(f"The recipe {path} cannot be read: {error.strerror}.") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StudioError(f"The recipe {path} is not valid TOML: {error}.") from error
        _convert(kind, values, str(path))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not {setting!r}.")
        values[key.strip()] = _value(text.strip())
    return _convert(kind, values, "--set" if settings else str(path))


def _value(text: str) -> Any:
    """``text`` as TOML would read it; words without quotes are strings."""
    try:
        return msgspec.toml.decode(f"v = {text}")["v"]
    except msgspec.DecodeError:
        return text


def _convert(kind: type[Recipe], values: dict[str, Any], where: str) -> Recipe:
    known = kind.__struct_fields__
    for key in values:
        if key not in known:
            raise StudioError(f"{where}: the recipe of {kind.__name__.lower()} has no key {key!r}; its keys are {', '.join(known)}.")
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise StudioError(f"{where}: {error}.") from error


def to_toml(recipe: Recipe) -> str:
    return tomli_w.dumps(msgspec.to_builtins(recipe))


def from_toml(stage: str, text: str, where: str = "recipe.toml") -> Recipe:
    """A resolved recipe out of a run folder."""
    return _convert(recipe_type(stage), msgspec.toml.decode(text), where)


def explained(recipe: Recipe) -> Iterator[tuple[str, Any, str]]:
    """``(key, value, plain words)`` of every field, for screens and help."""
    hints = get_type_hints(type(recipe), include_extras=True)
    for key in type(recipe).__struct_fields__:
        yield key, getattr(recipe, key), next((m.description or "" for m in getattr(hints[key], "__metadata__", ())), "")


def allowed(recipe: Recipe, key: str) -> str:
    """What a field may be, in short: ``0 < … ≤ 1000``, ``full | lora``, ``true | false``."""
    hint = get_type_hints(type(recipe), include_extras=True)[key]
    metas = getattr(hint, "__metadata__", ())
    kind = hint.__origin__ if metas else hint
    if kind is bool:
        return "true | false"
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    for meta in metas:
        low = f"{meta.ge:,} ≤ " if meta.ge is not None else f"{meta.gt:,} < " if meta.gt is not None else ""
        high = f" ≤ {meta.le:,}" if meta.le is not None else f" < {meta.lt:,}" if meta.lt is not None else ""
        if low or high:
            return f"{low}…{high}"
    return ""
