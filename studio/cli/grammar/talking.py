"""Serving, talking, comparing blind, and leaving with what was made."""

from __future__ import annotations

from studio.checkpoints.gguf import TYPES as GGUF_TYPES
from studio.cli.grammar.words import Words


def say(words: Words) -> None:
    command, actions = words.command, words.actions
    serve = command("serve", "Serve checkpoints on an OpenAI-compatible address; also: serve status, stop, add CKPT, remove CKPT.")
    serve.add_argument("checkpoints", nargs="*", metavar="CKPT|status|stop|add|remove")
    serve.add_argument("--engine", default="embedded", choices=("embedded", "vllm"))
    serve.add_argument("--port", type=int)
    serve.add_argument("--host", default="", metavar="ADDRESS", help="where it listens (default 127.0.0.1; 0.0.0.0: every address, unencrypted)")
    serve.add_argument("--detach", action="store_true", help="what it does anyway: the server outlives the command and the terminal")
    serve.add_argument("--context", type=int, default=0, metavar="TOKENS", help="longest conversation (default 8,192, or what the model reads)")
    serve.add_argument("--filter", action="store_true", help="take personal data and the words of filter.toml out of what is said")
    serve.add_argument("--plan", action="store_true", help="only say how it would be started: length, memory, room for adapters")
    serve.add_argument("--lines", action="store_true", help="status: lines to paste into SillyTavern, Open WebUI, curl, the OpenAI client")
    serve.add_argument("--systemd", action="store_true", help="write a systemd user unit that serves these checkpoints from the next login on")
    serve.add_argument("--stay", action="store_true", help="stay until stopped, with the key of the service (what the unit runs)")
    chat = command("chat", "Chat with checkpoints in the terminal; with --say, ask once and print.")
    chat.add_argument("checkpoints", nargs="+", metavar="CKPT")
    chat.add_argument("--say", metavar="TEXT")
    probe = command("probe", "Put the persona's probes to checkpoints.")
    probe.add_argument("checkpoints", nargs="+", metavar="CKPT")
    probe.add_argument("--limit", type=int, default=0, help="only the first N open and N cloze probes")
    for made in (chat, probe):
        made.add_argument("--engine", default="", choices=("embedded", "vllm"), help="default: what serves them now, else embedded")
        made.add_argument("--temperature", type=float, default=0.8)
        made.add_argument("--max-tokens", type=int, default=200)
        made.add_argument("--seed", type=int, default=17)

    review = command("review", "Compare checkpoints blind: CKPT CKPT opens the app; or one of the words below.")
    review.add_argument(
        "words",
        nargs="*",
        metavar="CKPT | deal CKPT CKPT | next | vote ROUND VERDICT | better ROUND N TEXT | undo | rank | report | company [CKPT…] | judge "
        "| pairs | keep [ROUND…] | list",
    )
    review.add_argument("--say", action="append", default=[], metavar="TEXT", help="deal: a prompt (may be given more than once)")
    review.add_argument("--probes", type=int, default=0, metavar="N", help="deal: the first N open probes as prompts")
    review.add_argument("--held-out", type=int, default=0, metavar="N", help="deal: N conversations of the validation split as prompts")
    review.add_argument("--temperature", type=float, default=0.8, help="deal: how daring the replies are drawn")
    review.add_argument("--top-p", type=float, default=0.95, help="deal: share of the likeliest tokens that is drawn from")
    review.add_argument("--max-tokens", type=int, default=300, help="deal: longest reply")
    review.add_argument("--repetition-penalty", type=float, default=1.0, help="deal: above 1, words already said become rarer")
    review.add_argument("--panes", type=int, default=2, choices=(2, 3, 4), help="deal: replies side by side in a round")
    review.add_argument("--wait", action="store_true", help="deal: follow the writing to its end")
    review.add_argument("--engine", default="embedded", choices=("embedded", "vllm"))
    review.add_argument("--review", default="", help="which review (default: the newest)")
    review.add_argument("--tag", action="append", default=[], help="vote: why")
    review.add_argument("--note", default="", help="vote: a free note")
    review.add_argument("--by", default="", choices=("tag", "language"), help="rank: the votes apart by tag, or by the language of the prompt")
    review.add_argument("--to", default="", metavar="FILE", help="report: write it there (Markdown)")
    review.add_argument("--offline", action="store_true", help="company: only what needs no engine")
    review.add_argument("--url", default="", help="judge: an OpenAI-compatible address; its key is read from STUDIO_EXTERNAL_KEY")
    review.add_argument("--model", default="", help="judge: the model to ask there")
    review.add_argument("--limit", type=int, default=0, metavar="N", help="judge: at most N rounds")

    card = actions("card", "The character card, V1 to V3, and its lorebook.", "show")
    command("show", "What it says.", card)
    command("set", "Take a card (PNG or JSON), or a lorebook (SillyTavern world info) into the card.", card).add_argument("file", metavar="FILE")
    written = command("export", "Write it as .json or .png, for other programs.", card)
    written.add_argument("--to", required=True, metavar="FILE", help="where to; .png puts V2 and V3 into a picture")
    written.add_argument("--as", dest="layout", default="v3", choices=("v3", "v2", "lorebook"), help="layout of a .json (default v3)")
    written.add_argument("--picture", metavar="PNG", help="the picture to put it in")
    chats = actions("chats", "Talks that were kept, and SillyTavern's.", "list")
    command("list", "All chats.", chats)
    command("show", "A chat, line by line.", chats).add_argument("chat", metavar="ID")
    command("import", "Keep SillyTavern chats (.jsonl).", chats).add_argument("files", nargs="+", metavar="FILE")
    out = command("export", "Write a chat as SillyTavern reads it.", chats)
    out.add_argument("chat", metavar="ID")
    out.add_argument("--to", required=True, metavar="FILE")
    external = actions("external", "Outside endpoints (OpenAI API) to chat with and review.", "list")
    command("list", "Those that are named.", external)
    added = command("add", "Name one.", external)
    added.add_argument("name")
    added.add_argument("--url", required=True, help="root of its API, mostly ending in /v1")
    added.add_argument("--model", required=True, help="the model's name there")
    command("remove", "Forget one.", external).add_argument("name")
    command("key", "Set the key of one: asked for, or read from standard input; empty forgets it.", external).add_argument("name")
    export = command("export", "Write what another program needs to talk with a checkpoint.")
    export.add_argument("checkpoint", metavar="CKPT")
    export.add_argument("--to", required=True, metavar="DIR")
    export.add_argument(
        "--format",
        default="hf",
        choices=("hf", "gguf", "sillytavern"),
        help="hf: a plain model folder with its card and an Ollama Modelfile; gguf: by llama.cpp; sillytavern: card and presets",
    )
    export.add_argument("--type", default="q8_0", choices=GGUF_TYPES, help="gguf: how its weights are kept (default q8_0)")
    export.add_argument("--recipe", default="", choices=("axolotl", "llamafactory"), help="the recipe and data it was trained with, for that trainer")
    export.add_argument("--untried", action="store_true", help="hf, gguf: do not load it once and ask it one question")
    export.add_argument("--adapter", action="store_true", help="hf: the adapter alone, not folded into its weights")
