"""``python -m studio.stages.trying FOLDER``: load a model as anybody would and let it answer once. The prompt comes on standard input.

Prints one JSON object, ``{"reply": …, "tokens": …}`` or ``{"error": …}``. An adapter is loaded on the base that its own files name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from studio.imports import importing, without_bitsandbytes
from studio.stages.asked import once

MOST = 48
"""Tokens of the reply."""


def answer(folder: Path, messages: list[dict[str, str]]) -> dict[str, Any]:
    """Load the folder with transformers' own loaders and its own chat template, and draw the likeliest reply."""
    with importing():
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if (folder / "adapter_config.json").is_file():
        from peft import AutoPeftModelForCausalLM

        model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True)
    if torch.cuda.is_available():
        model = model.to("cuda")
    if tokenizer.chat_template:
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True).to(model.device)
    else:  # a base that was never taught to talk goes on from the words
        prompt = tokenizer(messages[-1]["content"], return_tensors="pt").to(model.device)
    with torch.no_grad():
        drawn = model.generate(**prompt, do_sample=False, max_new_tokens=MOST)[0][prompt["input_ids"].shape[1] :]
    return {"reply": tokenizer.decode(drawn, skip_special_tokens=True).strip(), "tokens": len(drawn)}


if __name__ == "__main__":
    without_bitsandbytes()
    once(lambda: answer(Path(sys.argv[1]), json.load(sys.stdin)))
