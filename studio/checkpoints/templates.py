"""Chat templates: how a conversation becomes one text, and which token ends a turn.

Chosen by the control tokens the tokenizer really has as single ids, never by the model's name: a base was trained with these
tokens, so nothing has to be added to its embeddings. The same text renders training rows and every reply later.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from studio.errors import StudioError
from studio.text import one_line

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

GEMMA = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
{%- set first = messages[0]['content'] | trim + '\\n\\n' %}
{%- set turns = messages[1:] %}
{%- else %}
{%- set first = '' %}
{%- set turns = messages %}
{%- endif %}
{%- for message in turns %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<start_of_turn>' + role + '\\n' + (first if loop.first and role == 'user' else '') + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<start_of_turn>model\\n' }}
{%- endif %}
"""

LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

PLAIN = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'assistant' %}
{{- 'Assistant:\\n' + message['content'] | trim + eos_token + '\\n' }}
{%- elif message['role'] == 'user' %}
{{- 'User:\\n' + message['content'] | trim + '\\n' }}
{%- else %}
{{- message['content'] | trim + '\\n\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- 'Assistant:\\n' }}
{%- endif %}
"""

KNOWN = (
    ("chatml", ("<|im_start|>", "<|im_end|>"), CHATML, "<|im_end|>"),
    ("gemma", ("<start_of_turn>", "<end_of_turn>"), GEMMA, "<end_of_turn>"),
    ("llama-3", ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), LLAMA3, "<|eot_id|>"),
)
"""Name, the control tokens it needs, its text, its end of a turn."""


class Template(NamedTuple):
    """A chat template and what must be known to use it."""

    name: str
    """``chatml gemma llama-3 own plain``."""
    text: str
    """Jinja, without training marks."""
    end_of_turn: str
    """Token after an assistant's turn; the model is trained to say it and every engine stops at it."""
    eos_token: str
    """The tokenizer's end of a document."""
    bos_token: str
    """The tokenizer's start of a document, empty if it has none."""


def choose_template(tokenizer_json: dict[str, Any], tokenizer_config: dict[str, Any], own: str = "") -> Template:
    """The template for a tokenizer, given its ``tokenizer.json``, its ``tokenizer_config.json`` and its own template, if any.

    ChatML, Gemma or Llama-3 if their control tokens exist; else the base's own; else plain names with the end of a document as end of a
    turn. Raises StudioError if the tokenizer knows no end of a document.
    """
    whole = {entry["content"] for entry in tokenizer_json.get("added_tokens", [])}
    eos, bos = _token(tokenizer_config.get("eos_token")), _token(tokenizer_config.get("bos_token"))
    for name, needed, text, end in KNOWN:
        if whole.issuperset(needed):
            return Template(name, text, end, eos or end, bos or ("<bos>" if name == "gemma" else ""))
    if not eos:
        raise StudioError(
            "The tokenizer names no eos_token, so nothing could tell the model where to stop; add eos_token to its tokenizer_config.json."
        )
    if own:
        return Template("own", own, _end_of_turn(own, whole, eos, bos), eos, bos)
    return Template("plain", PLAIN, eos, eos, bos)


def template_for(folder: Path) -> Template:
    """The template for the model in a folder (a base or a checkpoint)."""
    config = _read_json(folder / "tokenizer_config.json")
    return choose_template(_read_json(folder / "tokenizer.json"), config, _own_template(folder, config))


def render(template: Template, messages: list[dict[str, str]], add_generation_prompt: bool = False) -> str:
    """The conversation as one text, as transformers and vLLM render it (sandboxed Jinja, blocks trimmed). StudioError where it cannot be."""
    try:
        return str(_compiled(template.text).render(messages=messages, add_generation_prompt=add_generation_prompt, **_names(template)))
    except StudioError:
        raise
    except Exception as error:  # a foreign template is a program: it may raise anything
        raise StudioError(f"The chat template cannot render the conversation: {one_line(str(error))[:200]}.") from error


OPEN, CLOSE = "\ufdd0", "\ufdd1"
"""Unicode noncharacters put around a reply while it is rendered, to find it in the text; no text may contain them."""


def take_marks(rendered: str, end_of_turn: str) -> tuple[str, list[tuple[int, int]]]:
    """A conversation rendered with its replies between OPEN and CLOSE, without these marks, and where in it the loss counts:
    each reply and the end-of-turn token after it, as ``(start, stop)`` in characters."""
    text, spans = "", []
    for piece in rendered.split(OPEN):
        reply, closed, rest = piece.partition(CLOSE)
        if not closed:
            text += piece
            continue
        gap = len(rest) - len(rest.lstrip())
        end = gap + len(end_of_turn) if rest[gap:].startswith(end_of_turn) else 0
        spans.append((len(text), len(text) + len(reply) + end))
        text += reply + rest
    return text, spans


def stop_tokens(template: Template) -> list[str]:
    """Tokens at which a reply ends, the end of a turn first."""
    return list(dict.fromkeys((template.end_of_turn, template.eos_token)))


def stop_ids(tokenizer: Any, template: Template, *known: Any) -> list[int]:
    """Ids of the tokens at which a reply ends. ``known`` is what configs name besides: an id, several, or nothing."""
    found = [tokenizer.token_to_id(token) for token in stop_tokens(template)]
    for own in known:
        found += own if isinstance(own, list) else [own]
    return list(dict.fromkeys(number for number in found if isinstance(number, int)))


def _names(template: Template) -> dict[str, str]:
    return {"bos_token": template.bos_token, "eos_token": template.eos_token}


@lru_cache(maxsize=8)
def _compiled(text: str) -> Any:
    """The template, compiled once: that takes some milliseconds, and a set has a hundred thousand rows."""
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def raise_exception(message: str) -> None:
        raise StudioError(f"The chat template refuses the conversation: {message}.")

    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(text)


def _end_of_turn(text: str, whole: set[str], eos: str, bos: str) -> str:
    """The first control token that a base's own template puts after an assistant's turn, else the end of a document."""
    mark = "\ue000"
    rendered = render(Template("own", text, eos, eos, bos), [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": mark}])
    after = rendered.partition(mark)[2]
    found = [(position, -len(token), token) for token in whole if (position := after.find(token)) >= 0]
    return min(found)[2] if found else eos


def _own_template(folder: Path, config: dict[str, Any]) -> str:
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except FileNotFoundError:
        own = config.get("chat_template")
        if isinstance(own, list):
            own = next((entry.get("template") for entry in own if entry.get("name") == "default"), "")
        return own if isinstance(own, str) else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError as error:
        raise StudioError(f"{path.parent} has no {path.name}; get the model's tokenizer files again.") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StudioError(f"{path} cannot be read ({error}); get the model's tokenizer files again.") from error
    if not isinstance(value, dict):
        raise StudioError(f"{path} is not a JSON object; get the model's tokenizer files again.")
    return value


def _token(entry: Any) -> str:
    """A token as configs write it: a string, or an object with its content."""
    return str(entry.get("content") or "") if isinstance(entry, dict) else str(entry or "")
