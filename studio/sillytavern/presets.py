"""Presets with which SillyTavern's text completion sends exactly what the checkpoint was trained on.

The sequences are read off the checkpoint's own chat template, by rendering conversations and cutting them at the known texts. With
``wrap`` off and no names SillyTavern joins them without adding anything (``public/scripts/instruct-mode.js``, formatInstructModeChat
and formatInstructModePrompt; sequences in the story string work with its old and new handling of system prompts alike).
"""

from __future__ import annotations

from typing import Any

from studio.checkpoints.templates import Template, render, stop_tokens
from studio.errors import StudioError
from studio.review.rounds import Sampling

A, B, C, D = "\ue000A", "\ue000B", "\ue000C", "\ue000D"
"""Texts that no template contains."""


def sequences(template: Template) -> dict[str, str]:
    """What a template puts around turns: ``system``/``user``/``assistant`` each with ``_prefix`` and ``_suffix``;
    those of ``system`` are empty where a template has no turn for it.

    StudioError if turns depend on each other in a way that prefixes and suffixes cannot say; the chat completion API is the way then.
    """
    bos = template.bos_token

    def rendered(*messages: tuple[str, str], reply: bool = False) -> str:
        text = render(template, [{"role": role, "content": content} for role, content in messages], add_generation_prompt=reply)
        # The server adds the beginning of a document itself.
        return text.removeprefix(bos) if bos else text

    talk = rendered(("user", A), ("assistant", B), ("user", C), ("assistant", D))
    opened = rendered(("user", A), reply=True)
    user_prefix, _, between = opened.partition(A)
    first, _, rest = talk.partition(B)
    middle, _, last = rest.partition(C)
    again, _, assistant_suffix = last.partition(D)
    assistant_prefix = opened.removeprefix(rendered(("user", A)))
    whole = first == opened and middle == assistant_suffix + user_prefix and again == between
    if not (whole and assistant_prefix and between.endswith(assistant_prefix)):
        raise StudioError(
            "This chat template cannot be said as an instruct preset; connect SillyTavern to the chat completion API (Custom, OpenAI-compatible) "
            "instead, where the server applies the template itself."
        )
    found = {
        "user_prefix": user_prefix,
        "user_suffix": between.removesuffix(assistant_prefix),
        "assistant_prefix": assistant_prefix,
        "assistant_suffix": assistant_suffix,
        "system_prefix": "",
        "system_suffix": "",
    }
    try:
        before, _, after = rendered(("system", A), ("user", B)).partition(A)
    except StudioError:
        return found  # a template that refuses a system prompt
    if after.partition(B)[0].endswith(user_prefix):
        found |= {"system_prefix": before, "system_suffix": after.partition(B)[0].removesuffix(user_prefix)}
    return found


def master_preset(name: str, template: Template, system_prompt: str, sampling: Sampling, context: int) -> dict[str, Any]:
    """One file for SillyTavern's "Master Import": instruct, context, system prompt and sampler presets under the same name.

    The card's description, personality, scenario and examples are not in the story string, for they were not in the training either.
    """
    parts = sequences(template)
    story, first_user = "", ""
    if system_prompt and parts["system_suffix"]:
        story = "{{#if system}}" + parts["system_prefix"] + "{{system}}" + parts["system_suffix"] + "{{/if}}"
    elif system_prompt:
        # Gemma writes the system prompt into the first user turn: said as that turn's own beginning.
        turn = render(template, [{"role": "system", "content": system_prompt}, {"role": "user", "content": A}])
        first_user = turn.removeprefix(template.bos_token).partition(A)[0]
    instruct = {
        "name": name,
        "input_sequence": parts["user_prefix"],
        "input_suffix": parts["user_suffix"],
        "output_sequence": parts["assistant_prefix"],
        "output_suffix": parts["assistant_suffix"],
        "system_sequence": parts["system_prefix"],
        "system_suffix": parts["system_suffix"],
        "first_input_sequence": first_user,
        "last_input_sequence": "",
        "first_output_sequence": "",
        "last_output_sequence": "",
        "last_system_sequence": "",
        "stop_sequence": template.end_of_turn,
        "story_string_prefix": "",
        "story_string_suffix": "",
        "system_sequence_prefix": "",
        "system_sequence_suffix": "",
        "user_alignment_message": "",
        "activation_regex": "",
        "wrap": False,
        "macro": True,
        "names_behavior": "none",
        "skip_examples": False,
        "system_same_as_user": False,
        "sequences_as_stop_strings": True,
    }
    story_preset = {
        "name": name,
        "story_string": story,
        "example_separator": "",
        "chat_start": "",
        "use_stop_strings": False,
        "always_force_name2": False,
        "names_as_stop_strings": False,
        "trim_sentences": False,
        "single_line": False,
        "story_string_position": 0,
        "story_string_role": 0,
        "story_string_depth": 1,
    }
    sampler = {
        "name": name,
        "temp": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "top_a": 0,
        "min_p": 0,
        "tfs": 1,
        "typical_p": 1,
        "rep_pen": sampling.repetition_penalty,
        "rep_pen_range": 0,
        "freq_pen": 0,
        "presence_pen": 0,
        "do_sample": True,
        "temperature_last": False,
        "dynatemp": False,
        "smoothing_factor": 0,
        "dry_multiplier": 0,
        "xtc_probability": 0,
        "mirostat_mode": 0,
        "add_bos_token": True,
        "ban_eos_token": False,
        "skip_special_tokens": True,
        "genamt": sampling.max_tokens,
        "max_length": context,
        "custom_stop_strings": stop_tokens(template),
    }
    return {
        "instruct": instruct,
        "context": story_preset,
        "sysprompt": {"name": name, "content": system_prompt, "post_history": ""},
        "preset": sampler,
    }
