"""The pocket base: a 4 M parameter Qwen3 that is made, not fetched, so that everything works without a network.

It knows nothing until it is trained. Same version, same bytes: the tokenizer is trained on the text beside this module, the
weights are drawn by numpy from a fixed seed (its streams do not depend on the processor).
"""

from __future__ import annotations

from pathlib import Path

from studio.checkpoints.base import pocket_folder
from studio.files import build_folder, lock, write_atomic
from studio.home import home
from studio.imports import importing

CORPUS = Path(__file__).with_name("pocket_corpus.txt")
SEED = 17
VOCABULARY = 4096
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""End of a document, start of a turn, end of a turn: the tokens that Qwen's bases have, one id each."""

SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Qwen's rule for what a token may never cross."""

LAYERS = 4
CONTEXT = 2048


def _save_tokenizer(folder: Path) -> int:
    """Train the byte-level BPE and save it; returns the id of the end of a document. No chat template, as bases have none."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=1,
        special_tokens=list(CONTROL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.read_text(encoding="utf-8").splitlines(), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=CONTROL[0],
        pad_token=CONTROL[0],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    wrapped.save_pretrained(folder)
    end = tokenizer.token_to_id(CONTROL[0])
    assert end is not None
    return end


def make_pocket(folder: Path) -> None:
    """Write the pocket base into ``folder`` (which exists and is empty): config, bf16 weights, tokenizer. About 3 seconds."""
    with importing():
        import numpy as np
        import torch
        from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    end = _save_tokenizer(folder)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        eos_token_id=end,
        pad_token_id=end,
    )
    model = Qwen3ForCausalLM(config)
    generator = np.random.Generator(np.random.PCG64(SEED))
    depth = (2 * LAYERS) ** -0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
                continue
            # Layers that write into the residual stream start smaller, so that its variance does not grow with depth (GPT-2).
            scale = 0.02 * (depth if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0)
            drawn = generator.standard_normal(tuple(parameter.shape), dtype=np.float32) * np.float32(scale)
            parameter.copy_(torch.from_numpy(drawn))
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end, do_sample=True, temperature=0.8, top_p=0.95)
    model.bfloat16().save_pretrained(folder)


def ensure_pocket() -> Path:
    """The pocket base of this machine, made now if it is missing. Two processes at once make it once."""
    folder = pocket_folder()
    with lock(home() / ".pocket.lock"):
        if not (folder / "config.json").is_file():
            with build_folder(folder) as building:
                make_pocket(building)
                write_atomic(
                    building / "README.txt", "The pocket base of persona studio: random weights and a small tokenizer, made on this machine.\n"
                )
    return folder


if __name__ == "__main__":
    print(ensure_pocket())
