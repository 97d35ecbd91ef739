"""Runs inside every process of vLLM (a general plugin): mends what would kill the engine on a CPU. Written for vLLM 0.32.0."""


def mend() -> None:
    """Scoring a text (``prompt_logprobs``) with LoRA on, while another request is under way, kills vLLM's CPU engine.

    ``PunicaWrapperCPU.add_lora_logits`` has one adapter index per *request* but then gets a row per *prompt token* (einsum:
    "subscript b has size 2 … previously seen size 22"). It only serves adapters on the output head, which training here never
    makes: rows that cannot be told apart get none.
    """
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    original = PunicaWrapperCPU.add_lora_logits

    def add_lora_logits(self, y, x, *arguments, **named):  # type: ignore[no-untyped-def]
        rows = x.numel() // x.shape[-1]
        if rows != self.sampler_indices.shape[0]:
            return None
        return original(self, y, x, *arguments, **named)

    PunicaWrapperCPU.add_lora_logits = add_lora_logits
