"""Trainings: planned, queued, read; and the checkpoints they make."""

from __future__ import annotations

from argparse import BooleanOptionalAction

from studio.checkpoints.best import MEASURES as BEST_BY
from studio.checkpoints.schemes import SCHEMES
from studio.cli.grammar.words import Words, queue_options, recipe_options


def say(words: Words) -> None:
    command, actions = words.command, words.actions
    for name, help_ in (("plan", "What a run would read, do and need, before anything is loaded."), ("train", "Queue a training run.")):
        made = command(name, help_)
        made.add_argument("stage", choices=("cpt", "sft", "dpo", "orpo", *(("quantize",) if name == "plan" else ())))
        recipe_options(made)
        made.add_argument("--from", dest="start", default="", metavar="CKPT", help="start from this checkpoint")
        made.add_argument("--snapshot", default="", help="read this snapshot (default: the newest)")
        made.add_argument("--card", type=int, default=0, metavar="GB", help="take the preset for a card of this size (--set goes before it)")
        made.add_argument("--fastest", action="store_true", help="take what studio doctor --bench measured to be fastest on this base")
        if name == "train":
            queue_options(made)
        else:
            tried = "try a few steps for the time (by itself where a GPU is free and nothing was measured)"
            made.add_argument("--measure", action=BooleanOptionalAction, default=None, help=tried)
    quantize = command("quantize", "Make a checkpoint smaller for serving.")
    quantize.add_argument("checkpoint", metavar="CKPT")
    quantize.add_argument("--scheme", default="", help=", ".join(SCHEMES))
    recipe_options(quantize)
    queue_options(quantize)

    jobs = actions("jobs", "Runs: queued, running, paused, ended.", "list")
    command("list", "All runs.", jobs)
    command("queue", "What waits on this machine, of all personas, in its order.", jobs)
    for name, help_ in (
        ("show", "All that is known of a run."),
        ("follow", "Watch a run, live or after the fact."),
        ("cancel", "Ask a run to save and stop, or take it off the queue."),
        ("retry", "Queue an ended run again; it resumes, and what was skipped because of it comes along."),
        ("give-way", "Let the studio's servers stop for a waiting run and come back after it."),
        ("up", "One place forward in the queue."),
        ("down", "One place back in the queue."),
        ("first", "To the front of the queue."),
        ("last", "To the end of the queue."),
    ):
        command(name, help_, jobs).add_argument("run", metavar="ID")
    for name, help_ in (
        ("pause", "Save and stop a run, or hold it back; without ID: start nothing more on this machine."),
        ("resume", "Let a paused run go on; without ID: the queue."),
    ):
        command(name, help_, jobs).add_argument("run", metavar="ID", nargs="?", default="")
    priority = command("priority", "Give a waiting run a priority: higher goes first, 0 is usual.", jobs)
    priority.add_argument("run", metavar="ID")
    priority.add_argument("priority", type=int, metavar="N")
    command("prune", "Remove the trainer states of ended runs; they would start over.", jobs)

    recipes = actions("recipe", "Every value of a recipe in plain words, and what suits which card.", "explain")
    for name, help_ in (
        ("explain", "Every value, what it may be and what it does."),
        ("presets", "What suits cards of 12 to 141 GB, for this persona's base."),
    ):
        command(name, help_, recipes).add_argument("stage", choices=("cpt", "sft", "dpo", "orpo"))
    runs = actions("runs", "What trainings did: read in plain words, compared, made again.", "list")
    command("list", "All runs.", runs)
    command("read", "A run in plain words: what its numbers mean and what to try next.", runs).add_argument("run", metavar="ID")

    probed = command("probes", "What the model said to the probes at each evaluation of a run.", runs)
    probed.add_argument("run", metavar="ID")
    probed.add_argument("--step", type=int, default=-1, metavar="N", help="only this evaluation (default: the last one's answers)")
    probed.add_argument("--probe", default="", metavar="ID", help="one probe through all evaluations")

    differ = command("diff", "Where the recipes of runs differ, and what came of each.", runs)
    differ.add_argument("runs", nargs="+", metavar="ID")
    for name, help_ in (
        ("extend", "Queue one epoch more, from the run's last checkpoint."),
        ("save", "Ask a running training to save a state and a checkpoint now; it goes on."),
    ):
        command(name, help_, runs).add_argument("run", metavar="ID")
    written = command("export", "Write a run's numbers for TensorBoard and MLflow, and as JSON lines and CSV (trackio, pandas).", runs)
    written.add_argument("run", metavar="ID")
    written.add_argument("--to", required=True, metavar="DIR")
    reproduced = command("reproduce", "Queue the very run that made a checkpoint: same start, snapshot, recipe, seed.")
    reproduced.add_argument("checkpoint", metavar="CKPT")
    reproduced.add_argument("--wait", action="store_true", help="follow it to its end")

    checkpoints = actions("checkpoints", "Models on disk and their family tree.", "list")
    command("list", "All checkpoints.", checkpoints)
    command("tree", "The family tree.", checkpoints)
    best = command("best", "Which is best by a number: where to listen first.", checkpoints)
    best.add_argument("--by", default="val_loss", choices=tuple(BEST_BY), help="what counts (default: val_loss)")
    command("show", "Everything known of one.", checkpoints).add_argument("checkpoint", metavar="CKPT")
    herself = command("herself", "Is she still herself? A quantized or merged one against its parent on held-out dialogue.", checkpoints)
    herself.add_argument("checkpoint", metavar="CKPT")
    herself.add_argument("--against", default="", metavar="CKPT", help="another one than its parent")
    herself.add_argument("--again", action="store_true", help="measure anew")
    herself.add_argument("--wait", action="store_true", help="follow the measuring to its end and print the verdict")
    command("delete", "Delete one that nothing was made from.", checkpoints).add_argument("checkpoint", metavar="CKPT")
    salvage = command("salvage", "Which failed neighbours may be worth more together; --start queues the merges.", checkpoints)
    salvage.add_argument("--start", action="store_true", help="queue the merges")
    salvage.add_argument("--wait", action="store_true", help="follow them to their end")
    merge = command("merge", "Make one of several, or fold an adapter into its weights.", checkpoints)
    merge.add_argument("checkpoints", nargs="+", metavar="CKPT")
    merge.add_argument("--method", default="linear", choices=("linear", "slerp", "cat", "svd", "ties", "dare-linear", "dare-ties"))
    merge.add_argument("--weights", default="", metavar="W,W…", help="how much each counts (default: all the same)")
    merge.add_argument("--late", default="", metavar="W,W…", help="how much each counts in the last layer; --weights are then the first layer's")
    merge.add_argument("--density", type=float, default=0.5, help="share of each one's changes that ties and dare keep")
    merge.add_argument("--result", default="full", choices=("full", "adapter"), help="adapter: only from adapters on the same weights")
    merge.add_argument("--wait", action="store_true", help="follow it to its end")
    command("fetch", "Bring a base to this machine: pocket, or a hub id.").add_argument("base", metavar="BASE")
