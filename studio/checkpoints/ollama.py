"""An Ollama Modelfile for an exported model: its chat template in Ollama's words, its stops, its system prompt.

Ollama's templates are Go's (``text/template``) over ``.Messages``; a system message comes as one of them. Only templates that we know word
by word are written: a base's own Jinja has no sure translation.
"""

from __future__ import annotations

from studio.checkpoints.templates import Template, stop_tokens
from studio.review.rounds import Sampling

TEMPLATES = {
    "chatml": """\
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
""",
    "gemma": """\
{{- range $i, $m := .Messages }}
{{- if eq $m.Role "assistant" }}<start_of_turn>model
{{ $m.Content }}<end_of_turn>
{{ else if eq $m.Role "user" }}<start_of_turn>user
{{ if and $.System (le $i 1) }}{{ $.System }}

{{ end }}{{ $m.Content }}<end_of_turn>
{{ end }}
{{- end }}<start_of_turn>model
""",
    "llama-3": """\
{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>

{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>

""",
    "plain": """\
{{- range .Messages }}
{{- if eq .Role "assistant" }}Assistant:
{{ .Content }}%EOS%
{{ else if eq .Role "user" }}User:
{{ .Content }}
{{ else }}{{ .Content }}

{{ end }}
{{- end }}Assistant:
""",
}


def modelfile(source: str, template: Template, system: str, context: int, drawn: Sampling) -> str:
    """The text of a Modelfile for the weights at ``source`` (``.`` or ``./model.gguf``), which draws replies as the studio does; empty if the
    template has no translation."""
    if template.name not in TEMPLATES:
        return ""
    text = TEMPLATES[template.name].replace("%EOS%", template.eos_token)
    lines = [f"FROM {source}", f'TEMPLATE """{text}"""']
    if system:
        lines.append('SYSTEM """' + system.replace('"""', "'''") + '"""')
    lines += [f'PARAMETER stop "{stop}"' for stop in stop_tokens(template)]
    lines += [f"PARAMETER num_ctx {context}", f"PARAMETER temperature {drawn.temperature}", f"PARAMETER top_p {drawn.top_p}"]
    # Ollama would take the 40 likeliest alone, and its older releases punish repetition by 1.1.
    lines += ["PARAMETER top_k 0", f"PARAMETER repeat_penalty {drawn.repetition_penalty}"]
    return "\n".join(lines) + "\n"
