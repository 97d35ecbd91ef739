"""Runs inside every process of vLLM (a general plugin): mends what would kill the engine on a CPU. Written for vLLM 0.32.0."""


def mend() -> None:
    _scoring_beside_adapters()
    _seeds_of_prompts_in_parts()


def _seeds_of_prompts_in_parts() -> None:
    """A seeded request whose prompt is read in parts (long, or several at once) kills vLLM's CPU engine.

    What is drawn after a part that is not the last is thrown away, and ``_bookkeeping_sync`` winds the generator back by its offset, which
    a generator on the CPU does not have ("CPU Generator does not use offset"). Nothing was kept yet, so wound back is begun anew.
    """
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    original = CPUModelRunner._bookkeeping_sync

    def _bookkeeping_sync(self, *arguments, **named):  # type: ignore[no-untyped-def]
        drawn = self.input_batch.generators
        aside = {number: drawn.pop(number) for number in list(drawn) if self.discard_request_mask.np[number]}
        for generator in aside.values():
            generator.manual_seed(generator.initial_seed())
        try:
            return original(self, *arguments, **named)
        finally:
            drawn.update(aside)

    CPUModelRunner._bookkeeping_sync = _bookkeeping_sync


def _scoring_beside_adapters() -> None:
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
