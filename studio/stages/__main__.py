"""``python -m studio.stages RUN_FOLDER``: do what the run folder says, tell it in its files, exit 0 only with the checkpoint in place.

Exit codes: 0 done, 1 failed (``result.json`` says why in one sentence), 2 wrong use, 143 asked to stop (state saved, may be resumed).
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.files import write_json
from studio.imports import importing, without_bitsandbytes
from studio.jobs.ending import read_result
from studio.jobs.runs import Run, read_run
from studio.recipes.files import from_toml
from studio.recipes.schema import Ahead, Cpt, Export, Herself, Merge, Preference, Serve, Sft
from studio.stages import together
from studio.stages.sentences import is_lost_peer, is_out_of_memory, sentence
from studio.stages.stopping import LOST_PEER, STOPPED, Stopped, StopWish
from studio.stages.story import Story
from studio.text import size

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}
"""Nothing is fetched and nothing phones home while a stage runs."""


def prepare_process() -> None:
    """What must stand before the model libraries are imported."""
    os.umask(0o077)
    os.environ.update(ENVIRONMENT)
    # With several cards in sight a single process would wrap the model in DataParallel, which TRL refuses (1.16).
    if together.processes() == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    # One core stays with the screen and the engine, and waiting threads sleep: when all cores spin and another process wants one,
    # each step waits for it many times over (2 threads on 2 busy cores: 120 tokens/s spinning, 810 sleeping; 1 thread: 1,150).
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) - 1)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def of_few_bits(run: Run) -> bool:
    """Whether the run has weights or an optimizer of 4 or 8 bits, or a paged one: bitsandbytes' business."""
    recipe = from_toml(run.inputs.stage, run.recipe_text, str(run.path / "recipe.toml"))
    return getattr(recipe, "method", "") == "qlora" or getattr(recipe, "optimizer", "auto") not in ("auto", "adamw", "adafactor")


def work(run: Run, story: Story, wish: StopWish) -> int:
    """Run the stage; returns the exit code. Raises whatever goes wrong."""
    from studio.stages.checkpoint import all_made, made, planned_ids

    recipe = from_toml(run.inputs.stage, run.recipe_text, str(run.path / "recipe.toml"))
    story.phase("Starting")
    if isinstance(recipe, Cpt | Sft | Preference):
        planned = planned_ids(run, recipe.epochs)
        if made(run, planned[-1:]):
            # Killed after its last checkpoint and before its result: nothing is left to do.
            return finish(run, story, all_made(run), run.status.step, run.status.step)
        train: Any
        with importing():
            if isinstance(recipe, Cpt):
                from studio.stages.cpt import train_cpt as train
            elif isinstance(recipe, Sft):
                from studio.stages.sft import train_sft as train
            else:
                from studio.stages.preference import train_preference as train
        story.start()
        progress = train(run, recipe, story, wish)
        if progress.ended:
            return finish(run, story, all_made(run), progress.step, progress.step, progress.ended)
        if progress.step < progress.planned:
            raise Stopped
        missing = sorted(set(planned) - set(made(run, planned)))
        if missing:
            raise StudioError(f"The training ended without its checkpoints {', '.join(missing)}; retry the run, it goes on from its last state.")
        return finish(run, story, all_made(run), progress.step, progress.planned)
    if isinstance(recipe, Ahead):
        with importing():
            from studio.stages.ahead import write_replies

        written = write_replies(run, recipe, story)
        return finish(run, story, [], written, written)
    if isinstance(recipe, Merge):
        with importing():
            from studio.stages.merge import merge

        story.start()
        return finish(run, story, [merge(run, recipe, story)], 1, 1)
    if isinstance(recipe, Serve):
        from studio.stages.serve import serve

        serve(run, recipe, story)
        return finish(run, story, [], 1, 1)
    if isinstance(recipe, Export):
        from studio.stages.export import export

        return finish(run, story, [], 1, 1, export(run, recipe, story))
    if isinstance(recipe, Herself):
        with importing():
            from studio.stages.herself import herself

        story.start()
        herself(run, recipe, story)
        return finish(run, story, [], 1, 1)
    with importing():
        from studio.stages.quantize import quantize

    story.start()
    return finish(run, story, [quantize(run, recipe, story)], 1, 1)


def finish(run: Run, story: Story, checkpoints: list[str], step: int, planned: int, message: str = "") -> int:
    """Record that a stage is done; ``message``: what people should know of how, in one sentence."""
    from studio.stages import resume
    from studio.stages.room import insist
    from studio.stages.story import peak_memory

    if not together.speaks():
        return 0
    resume.discard(run.path)
    story.event("end", seconds=story.seconds)
    story.status(now=True, phase="Done", checkpoints=checkpoints)
    result = {
        "ok": True,
        "checkpoints": checkpoints,
        "global_step": step,
        "planned_steps": planned,
        "message": message,
        "seconds": story.seconds,
        "peak_memory_bytes": peak_memory(),
    }
    insist(story, "recording its result", lambda: write_json(run.path / "result.json", result))
    return 0


def advised(run: Run, error: BaseException) -> BaseException:
    """Memory ran out: the same said with the plan's next-best setting. What was saved stays."""
    try:
        from studio import planning
        from studio.forecast import memory_there, on_gpu

        recipe = from_toml(run.inputs.stage, run.recipe_text)
        if not isinstance(recipe, Cpt | Sft | Preference):
            return error
        there, _ = memory_there()
        shape, gpu = planning.shape_of(Path(run.inputs.weights_path)), on_gpu()
        change = planning.next_best(recipe, shape, there, gpu)
        planned = planning.total(planning.memory(recipe, shape, there, gpu))
    except StudioError:
        return error
    if change is None:
        return error
    wish = " ".join(f"--set {part.replace(' ', '')}" for part in change.said.split(", "))
    told = StudioError(
        f"The memory ran out (planned were {size(planned)} of {size(there)}). Next best: {change.said}, about {size(change.bytes)}: "
        f"studio train {run.inputs.stage} {wish}. Checkpoints that are written stay."
    )
    told.__cause__ = error
    return told


def fail(path: Path, error: BaseException) -> int:
    """Tell people in one sentence and the log the whole story. Survives a full disk: the exit code then has to do."""
    said = sentence(error)
    try:
        traceback.print_exception(error)
        print(said, file=sys.stderr, flush=True)
    except OSError:
        pass
    if together.processes() > 1 and (is_lost_peer(error) or read_result(path) is not None):
        return LOST_PEER  # whoever ended first has said why, or cannot
    if not path.is_dir():  # moved away: nothing is made at its old place
        return 1
    try:
        write_json(path / "result.json", {"ok": False, "error": said})
    except StudioError:
        pass
    return 1


def main(arguments: list[str], alone: bool = False) -> int:
    """Do a run folder's stage; the exit code. ``alone``: this process does nothing else before or after."""
    if len(arguments) != 1:
        print("usage: python -m studio.stages RUN_FOLDER", file=sys.stderr)
        return 2
    prepare_process()
    wish = StopWish()
    wish.listen()
    path = Path(arguments[0]).resolve()
    try:
        run = read_run(path)
    except StudioError as error:
        print(error, file=sys.stderr)
        return 1
    story = Story(path, wish)
    try:
        if alone and not of_few_bits(run):
            without_bitsandbytes()
        if together.processes() == 1:  # of several, one may have written its own already
            (path / "result.json").unlink(missing_ok=True)
        return work(run, story, wish)
    except Stopped:
        wish.patient = True
        story.event("stopping", reason="asked to stop (SIGTERM)")
        return STOPPED
    except (Exception, KeyboardInterrupt) as error:
        return fail(path, advised(run, error) if is_out_of_memory(error) else error)


if __name__ == "__main__":
    code = main(sys.argv[1:], alone=True)
    sys.stdout.flush()
    sys.stderr.flush()
    # Past this point only library clean-up could change the exit code (a second SIGTERM, threads of torch).
    os._exit(code)
