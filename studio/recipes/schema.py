"""The recipe of each stage. Defaults are the reference workflow: Qwen3.5 base, full CPT on the lore, LoRA SFT on the dialogue,
one 12 to 24 GB card. The description of a field is what the TUI shows beside its value.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class Training(Struct, kw_only=True, forbid_unknown_fields=True):
    """What every training stage has."""

    learning_rate: Annotated[float, Meta(gt=0, lt=1, description="Step size. Higher: learns faster, forgets manners sooner.")]
    epochs: Annotated[float, Meta(gt=0, le=1000, description="Times the whole material is read. A checkpoint is kept after each.")]
    batch: Annotated[int, Meta(ge=1, le=4096, description="Sequences a step. Larger: calmer, fewer steps.")]
    micro_batch: Annotated[
        int, Meta(ge=1, le=4096, description="Sequences on the card at once; a step gathers them up to batch. Larger: faster, more memory.")
    ] = 1
    length: Annotated[int, Meta(ge=32, le=1_048_576, description="Longest sequence in tokens; longer texts are split (CPT) or cut (SFT).")] = 2048
    warmup: Annotated[float, Meta(ge=0, lt=1, description="Share of the steps in which the step size rises from zero.")] = 0.03
    schedule: Annotated[Literal["cosine", "linear", "constant"], Meta(description="How the step size falls after the warm-up.")] = "cosine"
    weight_decay: Annotated[float, Meta(ge=0, le=1, description="Pulls weights towards zero. Seldom needed in short trainings.")] = 0.0
    max_grad_norm: Annotated[float, Meta(gt=0, le=1000, description="Longer gradients are shortened to this: one odd text cannot wreck a step.")] = (
        1.0
    )
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "bf16-kahan", "bf16-stochastic"],
        Meta(
            description="auto: full-precision weights with bf16 arithmetic, where the memory allows; else bf16 weights whose rounding is "
            "compensated (Kahan). Plain bf16 weights lose small updates and learn too little."
        ),
    ] = "auto"
    optimizer: Annotated[
        Literal["auto", "adamw", "adamw-8bit", "paged-adamw", "paged-adamw-8bit", "adafactor", "lion-8bit"],
        Meta(
            description="auto: AdamW, with what precision needs. 8bit: a quarter of its memory, hardly worse. paged: moves to main memory "
            "where the card is full. adafactor: least memory, other step sizes."
        ),
    ] = "auto"
    gradient_checkpointing: Annotated[bool, Meta(description="Recomputes instead of remembering: about a third slower, far less memory.")] = True
    activation_offloading: Annotated[
        bool,
        Meta(
            description="What is remembered for the way back waits in main memory and not on the card: slower, the same result; for long texts "
            "on a small card. Needs a GPU."
        ),
    ] = False
    evals_per_epoch: Annotated[int, Meta(ge=1, le=1000, description="How often the validation loss is measured in an epoch.")] = 4
    stop_after: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Ends early after so many evaluations in a row without a lower validation loss. 0: never; every epoch is kept and the "
            "ear decides.",
        ),
    ] = 0
    keep_states: Annotated[int, Meta(ge=1, le=100, description="Resumable trainer states kept on disk at once (the newest ones).")] = 1
    saves_per_epoch: Annotated[int, Meta(ge=1, le=1000, description="How often a resumable trainer state is written in an epoch.")] = 1
    probes: Annotated[
        int,
        Meta(ge=0, le=200, description="Open probes answered at every evaluation (four times as many cloze); 0: none. More: see more, takes longer."),
    ] = 6
    probe_tokens: Annotated[int, Meta(ge=1, le=4096, description="Longest answer to a probe in training, in tokens.")] = 64
    devices: Annotated[
        int, Meta(ge=1, le=64, description="Cards of this machine that train together, each on its share of the batch. batch is a multiple of it.")
    ] = 1
    seed: Annotated[int, Meta(ge=0, lt=2**32, description="Same seed, same data order, same run.")] = 17


OPTIMIZERS = {
    "auto": "adamw_torch_fused",
    "adamw": "adamw_torch_fused",
    "adamw-8bit": "adamw_8bit",
    "paged-adamw": "paged_adamw_32bit",
    "paged-adamw-8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
    "lion-8bit": "lion_8bit",
}
"""The recipe's names and those of transformers (5.17, ``OptimizerNames``), which other trainers take as well."""

Rank = Annotated[int, Meta(ge=1, le=1024, description="Size of a new adapter. Larger: can hold more of her, more easily overfits.")]
Alpha = Annotated[int, Meta(ge=1, le=4096, description="Strength of a new adapter; twice the rank is the usual choice.")]


Variant = Annotated[
    Literal["plain", "dora", "rslora", "pissa", "olora"],
    Meta(
        description="How a new adapter is built. dora: nearer to all weights, a quarter slower. rslora: for ranks of 64 and more, with a lower "
        "step size. pissa, olora: begin at the weights' main directions, learn faster at first."
    ),
]


class Texts(Training, kw_only=True, forbid_unknown_fields=True):
    """What the stages have that read one text at a time."""

    method: Annotated[
        Literal["full", "lora", "qlora"],
        Meta(
            description="full: all weights learn, most memory. lora: a small adapter beside them. qlora: the same over weights of 4 bits (NF4), "
            "a third of the memory, slower, a little less true."
        ),
    ] = "lora"
    rank: Rank = 32
    alpha: Alpha = 64
    dropout: Annotated[float, Meta(ge=0, lt=1, description="Share of the adapter switched off at random in each step.")] = 0.0
    variant: Variant = "plain"
    packing: Annotated[bool, Meta(description="Several short texts share one sequence, kept apart from each other. Faster, same result.")] = True
    neftune: Annotated[float, Meta(ge=0, le=50, description="Noise on the embeddings. About 5 makes chat livelier; 0 for facts.")] = 0.0
    compile: Annotated[
        bool,
        Meta(
            description="torch.compile: the arithmetic is built for this machine first, minutes before the first step. Pays in long trainings on "
            "some cards, seldom without one; studio doctor --bench tells whether here."
        ),
    ] = False


class Cpt(Texts, kw_only=True, forbid_unknown_fields=True):
    """Continued pre-training on the lore: all weights (or a large adapter), every token counts."""

    method: Annotated[
        Literal["full", "lora", "qlora"],
        Meta(
            description="full: all weights learn, what facts need. lora: an adapter of high rank, a quarter of the memory, learns less by heart "
            "(learning_rate 1e-4). qlora: the same over weights of 4 bits."
        ),
    ] = "full"
    rank: Rank = 128
    alpha: Alpha = 128
    learning_rate: Annotated[float, Meta(gt=0, lt=1, description="Step size. 1e-5 is timid, 3e-5 learns the lore; higher forgets other things.")] = (
        3e-5
    )
    epochs: Annotated[
        float, Meta(gt=0, le=1000, description="Times the lore is read. The end of the second is often the best: keep and compare.")
    ] = 3.0
    batch: Annotated[int, Meta(ge=1, le=4096, description="Sequences a step. 12 is the reference for about 12 M tokens of lore.")] = 12
    sharded: Annotated[
        bool,
        Meta(
            description="With several devices: each holds only its share of weights, gradients and optimizer (FSDP2), for a model too large "
            "for one. Slower than whole copies."
        ),
    ] = False


class Sft(Texts, kw_only=True, forbid_unknown_fields=True):
    """Supervised fine-tuning on the dialogue: a LoRA adapter (or all weights), loss on the character's turns alone."""

    learning_rate: Annotated[
        float, Meta(gt=0, lt=1, description="Step size. Higher: learns her manner faster, forgets manners sooner. 1e-4 suits LoRA.")
    ] = 1e-4
    epochs: Annotated[float, Meta(gt=0, le=1000, description="Times the dialogue is read. Past 2 or 3 she starts to recite.")] = 2.0
    batch: Annotated[
        int, Meta(ge=1, le=4096, description="Conversations a step. Larger: calmer, fewer steps; smaller: learns faster, more by accident.")
    ] = 4
    neftune: Annotated[float, Meta(ge=0, le=50, description="Noise on the embeddings. About 5 makes chat livelier; 0 for facts.")] = 5.0


class Preference(Training, kw_only=True, forbid_unknown_fields=True):
    """What the stages have that read pairs. No packing: both replies of a pair go through the model side by side; no noise and no dropout:
    they would blur the comparison."""

    epochs: Annotated[float, Meta(gt=0, le=1000, description="Times the pairs are read. A checkpoint is kept after each: compare them blind.")] = 2.0
    batch: Annotated[int, Meta(ge=1, le=4096, description="Pairs a step. Larger: calmer; smaller: more steps, each vote counts for more.")] = 8
    length: Annotated[
        int,
        Meta(ge=32, le=1_048_576, description="Longest prompt with its reply in tokens. Longer talks lose their oldest turns, never her reply."),
    ] = 2048
    warmup: Annotated[float, Meta(ge=0, lt=1, description="Share of the steps in which the step size rises from zero.")] = 0.1
    method: Annotated[
        Literal["lora", "qlora"],
        Meta(description="lora: a small adapter beside the weights. qlora: the same over weights of 4 bits (NF4), a third of the memory, slower."),
    ] = "lora"
    rank: Rank = 32
    alpha: Alpha = 64
    beta: Annotated[float, Meta(gt=0, le=10, description="How much the pairs count.")] = 0.1


class Dpo(Preference, kw_only=True, forbid_unknown_fields=True):
    """Direct preference optimization: an adapter learns to find the better reply of each pair likelier than the worse one, measured
    against itself as it was before.

    The step size is that of published LoRA runs (alignment-handbook's zephyr-7b-dpo-qlora: 5e-6, one epoch over 60,000 pairs; TRL's
    own default of 1e-6 is for full weights), doubled, with two epochs, because votes make hundreds of pairs and not tens of thousands.
    """

    learning_rate: Annotated[
        float, Meta(gt=0, lt=1, description="Step size. 5e-6 to 1e-5 suits an adapter: a tenth of SFT, since it only nudges her.")
    ] = 1e-5
    beta: Annotated[
        float, Meta(gt=0, le=10, description="How close she stays to what she was. 0.1 is usual; 0.3 and more for few or doubtful votes.")
    ] = 0.1


class Orpo(Preference, kw_only=True, forbid_unknown_fields=True):
    """Odds-ratio preference optimization: learns the better reply as SFT would, and to prefer it to the worse one, in one go. It needs no
    memory of what she was, so it may start from a CPT checkpoint too.

    The step size is ten times that of its paper (Hong et al. 2024: 8e-6, all weights), as LoRA wants it; beta is the paper's lambda.
    """

    learning_rate: Annotated[float, Meta(gt=0, lt=1, description="Step size. It learns the better replies themselves: near that of SFT.")] = 8e-5
    beta: Annotated[float, Meta(gt=0, le=10, description="Weight of preferring beside learning. 0.1 is usual; higher pushes the worse away.")] = 0.1


class Herself(Struct, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint held against another one: is she still herself?"""

    against: Annotated[str, Meta(description="The checkpoint it is held against.")] = ""
    tokens: Annotated[int, Meta(ge=64, le=65536, description="Tokens of her held-out turns that both are measured on.")] = 2048
    replies: Annotated[int, Meta(ge=0, le=200, description="Prompts that both answer without any chance in it.")] = 8
    reply_tokens: Annotated[int, Meta(ge=4, le=1024, description="Longest of these replies.")] = 48
    questions: Annotated[int, Meta(ge=0, le=1000, description="Lore questions put to both.")] = 24


class Quantize(Struct, kw_only=True, forbid_unknown_fields=True):
    """Smaller weights for serving. Which cards run which scheme is in ``checkpoints.schemes``."""

    scheme: Annotated[
        Literal["fp8-dynamic", "fp8-block", "int8", "int8-smooth", "int4-gptq", "int4-awq", "int4-autoround", "int4-rtn", "nvfp4", "nvfp4a16"],
        Meta(description="fp8-dynamic: half the size, nearly no loss, RTX 40 and newer. int4-gptq: a quarter, some loss, RTX 20 and newer."),
    ] = "fp8-dynamic"
    calibration_rows: Annotated[
        int, Meta(ge=1, le=10000, description="Training conversations that the schemes which look at some are shown; never held-out ones.")
    ] = 256
    calibration_length: Annotated[int, Meta(ge=16, le=65536, description="Tokens of each of them that are read.")] = 1024
    group_size: Annotated[int, Meta(ge=16, le=1024, description="Weights that share one scale in int4 schemes. Smaller: truer, larger file.")] = 128
    smoothing: Annotated[float, Meta(ge=0, le=1, description="int8-smooth: how much of the outliers moves from activations into weights.")] = 0.5
    rounds: Annotated[int, Meta(ge=1, le=2000, description="int4-autoround: how often each layer tries to round better.")] = 200
    ignore: Annotated[list[str], Meta(description="Layers left in bf16 beside the usual ones: name endings, or re: and a pattern.")] = []
    check_tokens: Annotated[int, Meta(ge=64, le=65536, description="Tokens of her held-out turns on which it is compared with its parent.")] = 2048
    seed: Annotated[int, Meta(ge=0, lt=2**32, description="Which conversations are drawn.")] = 17


class Merge(Struct, kw_only=True, forbid_unknown_fields=True):
    """Several checkpoints made one, or an adapter folded into its weights."""

    checkpoints: Annotated[list[str], Meta(min_length=1, max_length=8, description="What is merged.")]
    method: Annotated[
        Literal["linear", "slerp", "cat", "svd", "ties", "dare-linear", "dare-ties"],
        Meta(
            description="linear: the mean. slerp: between two, keeps strength. ties, dare-…: what each learned, conflicts settled. "
            "cat, svd: of adapters, exact and exact but for the smallest parts."
        ),
    ] = "linear"
    weights: Annotated[list[float], Meta(description="How much each counts; empty: all the same.")] = []
    late: Annotated[
        list[float],
        Meta(description="How much each counts in the last layer; weights are then the first layer's, and between them it changes evenly."),
    ] = []
    density: Annotated[float, Meta(gt=0, le=1, description="Share of each one's changes that ties and dare keep.")] = 0.5
    result: Annotated[Literal["full", "adapter"], Meta(description="What comes out; an adapter only from adapters on the same weights.")] = "full"
    seed: Annotated[int, Meta(ge=0, lt=2**32, description="Which changes dare drops.")] = 17


class Ahead(Struct, kw_only=True, forbid_unknown_fields=True):
    """The replies of a review, written before the sitting."""

    review: Annotated[str, Meta(description="Which review.")]
    engine: Annotated[Literal["embedded", "vllm"], Meta(description="What answers.")] = "embedded"


class Serve(Struct, kw_only=True, forbid_unknown_fields=True):
    """A server that is started when its checkpoint is there."""

    engine: Annotated[Literal["embedded", "vllm"], Meta(description="What answers. vllm: fast, wants a GPU. embedded: anywhere.")] = "embedded"
    context: Annotated[int, Meta(ge=256, le=1_048_576, description="Longest conversation in tokens.")] = 8192
    port: Annotated[int, Meta(ge=0, le=65535, description="Where it listens on this machine; 0: any free port.")] = 0


class Export(Struct, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint written as other programs take it."""

    form: Annotated[str, Meta(description="As what: hf, adapter, or gguf and a type.")]
    to: Annotated[str, Meta(description="The new folder, or the file of a gguf; absolute.")]
    untried: Annotated[bool, Meta(description="Whether it is not loaded once and asked one question first.")] = False
    llama_cpp: Annotated[str, Meta(description="gguf: where llama.cpp is, as whoever queued it had it.")] = ""


Recipe = Cpt | Sft | Dpo | Orpo | Merge | Quantize | Herself | Ahead | Serve | Export

STAGES: dict[str, type[Recipe]] = {
    "cpt": Cpt,
    "sft": Sft,
    "dpo": Dpo,
    "orpo": Orpo,
    "merge": Merge,
    "quantize": Quantize,
    "herself": Herself,
    "ahead": Ahead,
    "serve": Serve,
    "export": Export,
}
"""Stages that can be run, by name."""

MATERIAL = {"cpt": "lore", "sft": "dialogue", "dpo": "preference", "orpo": "preference", "quantize": "dialogue", "herself": "dialogue"}
"""Which snapshot a stage reads."""
