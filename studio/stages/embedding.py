"""``python -m studio.stages.embedding MODEL TEXTS VECTORS``: what a model makes of texts, as unit vectors.

TEXTS holds JSON lines ``{"key", "text"}``; each text becomes one record of VECTORS (``studio.dialogue.embedding`` has the layout), which is
appended to batch by batch, so that what was done stays done. Prints JSON lines: ``{"done", "of"}``, and last ``{"dims"}`` or ``{"error"}``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from studio.stages.asked import once

BATCH_TOKENS = 8192
LONGEST = 512
"""Tokens of a text that are read: what sentence models are made for; of a longer reply the beginning."""


def vectors_of(model: Any, tokenizer: Any, texts: list[str], longest: int) -> Any:
    """The mean of each text's last hidden states, of length 1, as float32 rows."""
    import torch

    encoded = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt").to(model.device)
    with torch.no_grad():
        states = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).last_hidden_state.float()
    there = encoded["attention_mask"].unsqueeze(-1).float()
    means = (states * there).sum(1) / there.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(means, dim=-1).cpu().numpy()


def loaded(folder: Path) -> tuple[Any, Any, int]:
    """``(model, tokenizer, tokens it reads at most)``: the body of whatever model lies there, of an encoder-decoder the encoder."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    on_gpu = torch.cuda.is_available()
    model: Any = AutoModel.from_pretrained(folder, dtype=torch.bfloat16 if on_gpu else torch.float32, local_files_only=True)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    at_most = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or LONGEST)
    # RoBERTa and its kin number positions from the padding's own number on, so that two of them are never a token's.
    return model.eval().to("cuda" if on_gpu else "cpu"), tokenizer, max(8, min(LONGEST, at_most - 2))


def work(folder: Path, texts: Path, vectors: Path) -> int:
    """Every text, the short ones together; returns the vectors' dimensions."""
    import numpy as np

    model, tokenizer, longest = loaded(folder)
    rows = [json.loads(line) for line in texts.read_text(encoding="utf-8").split("\n") if line]
    rows.sort(key=lambda row: len(row["text"]))
    done = dims = 0
    with vectors.open("ab") as file:
        while done < len(rows):
            # A batch by the longest it may get to: hardly a text has more tokens than characters.
            end = done + 1
            while end < len(rows) and (end + 1 - done) * min(longest, 1 + len(rows[end]["text"])) <= BATCH_TOKENS:
                end += 1
            made = vectors_of(model, tokenizer, [row["text"] for row in rows[done:end]], longest)
            dims = made.shape[1]
            file.write(
                b"".join(bytes.fromhex(row["key"]) + each.tobytes() for row, each in zip(rows[done:end], made.astype(np.float16), strict=True))
            )
            file.flush()
            done = end
            print(json.dumps({"done": done, "of": len(rows)}), flush=True)
    return dims


if __name__ == "__main__":
    once(lambda: {"dims": work(*map(Path, sys.argv[1:4]))})
