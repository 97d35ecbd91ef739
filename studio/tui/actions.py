"""Every action of the app, in one place: footer, help, palette and key bindings are generated from this table.

To find the code behind a key: look the key up here, then ``action_<id>`` in the screen named in the row (``app`` for everywhere).
"""

from __future__ import annotations

from typing import NamedTuple

from textual.binding import Binding, BindingType


class Action(NamedTuple):
    """One thing a key does."""

    screen: str
    """``app``, or the screen on which it works (the ``rows_of`` of a screen class)."""
    id: str
    """The method is ``action_<id>``."""
    keys: str
    """Textual's names, comma between alternatives; the first is the one shown. Each works in any terminal."""
    label: str
    """One or two words, for the footer; empty: not in the footer."""
    help: str
    """One sentence, for help and palette."""
    dangerous: bool = False
    """Asks before it acts."""


ACTIONS: tuple[Action, ...] = (
    Action("app", "go('persona')", "1", "", "Persona: name, base, card, what there is and what to do next."),
    Action("app", "go('lore')", "2", "", "Lore: raw text for continued pre-training."),
    Action("app", "go('dialogue')", "3", "", "Dialogue: conversations for fine-tuning."),
    Action("app", "go('train')", "4", "", "Train: runs, recipes, loss curves."),
    Action("app", "go('checkpoints')", "5", "", "Checkpoints: the family tree."),
    Action("app", "go('serve')", "6", "", "Serve: engines, live servers, chat."),
    Action("app", "go('review')", "7", "", "Review: the blind side-by-side."),
    Action("app", "jobs", "f2", "", "The jobs, from wherever one is; q goes back there."),
    Action("app", "show_help", "question_mark,f1", "help", "Every key of this screen and of all screens."),
    Action("app", "command_palette", "ctrl+p", "palette", "Find an action by its name."),
    Action("app", "back", "q", "back", "One step back; on a main screen: leave. Jobs and servers go on."),
    Action("app", "toggle_theme", "f9", "", "Dark or light."),
    Action("welcome", "open", "enter", "open", "Open the selected persona."),
    Action("welcome", "new", "n", "new", "Make a new persona: a name and a base."),
    Action("welcome", "sample", "w", "sample", "Make a persona from the sample, with its lore and dialogue."),
    Action("persona", "edit_manifest", "e", "edit", "Open persona.toml in $EDITOR."),
    Action("persona", "open_other", "o", "open", "Open another persona of this machine."),
    Action("persona", "fetch_base", "f", "fetch base", "Bring the base to this machine: make the pocket base, or download a hub id."),
    Action("lore", "add", "a", "add", "Add books, pages, subtitles, scripts, wikis, lorebooks, cards: files, folders, zip files."),
    Action("lore", "read", "enter", "read", "Read the selected file, with what was changed in it."),
    Action("lore", "edit", "e", "edit", "Open the selected file in $EDITOR."),
    Action("lore", "clean", "w", "clean", "What cleaning would change, step by step and place by place; then do it."),
    Action("lore", "check", "c", "check", "List what is obviously wrong, with file and line."),
    Action("lore", "coverage", "v", "coverage", "Coverage by language instead of the files, where both have no room."),
    Action("lore", "parallel", "p", "", "Say that the selected file and another are translations of each other."),
    Action("lore", "drop", "d", "", "Take the selected file out of the lore; what it holds stays in sources/.", dangerous=True),
    Action("lore", "build", "b", "build", "Freeze a snapshot, split into train and val."),
    Action("lore", "snapshots", "n", "snapshots", "The frozen builds of the lore: rows, tokens, what was left out."),
    Action("lore", "stop", "escape,x", "", "Stop the adding, measuring or building that is going on."),
    Action("lore-reader", "both", "t", "before/after", "What was changed: marked in the margin, or before and after in full."),
    Action("lore-reader", "change(1)", "right_square_bracket,right", "next change", "To the next changed place."),
    Action("lore-reader", "change(-1)", "left_square_bracket,left", "", "To the changed place before."),
    Action("lore-reader", "turn(1)", "J", "", "The next part of a large file."),
    Action("lore-reader", "turn(-1)", "K", "", "The part before, of a large file."),
    Action("lore-reader", "find", "slash", "find", "Scroll to the next place with a text."),
    Action("lore-reader", "find_next", "n", "next", "The next place with the same text."),
    Action("lore-reader", "edit", "e", "edit", "Open this file in $EDITOR."),
    Action("lore-cleaning", "toggle_step", "space", "on/off", "Switch the selected step on or off."),
    Action("lore-cleaning", "switch", "tab", "steps/places", "From the steps to the places and back."),
    Action("lore-cleaning", "read", "enter", "before/after", "The selected place in full, before and after."),
    Action("lore-cleaning", "apply", "s", "do it", "Clean; what stands there now is kept in sources/.", dangerous=True),
    Action("lore-cleaning", "again", "r", "again", "Look through the files again."),
    Action("lore-cleaning", "stop", "escape,x", "", "Stop the looking through or cleaning that is going on."),
    Action("dialogue", "find", "slash", "filter", 'Show only the rows for which all of a line holds: src:chat -is:rejected len>400 "late again".'),
    Action("dialogue", "read", "enter", "read", "Read the selected conversation whole, turn by turn."),
    Action("dialogue", "accept", "y", "accept", "Accept the marked rows (or the selected one); once more: open again."),
    Action("dialogue", "reject", "x", "reject", "Reject them: kept, and never built; once more: open again."),
    Action("dialogue", "edit", "e", "edit", "Mend her first reply; in the conversation, any turn."),
    Action("dialogue", "tag", "t", "tag", "Give the marked rows (or the selected one) tags, or take tags away."),
    Action("dialogue", "undo", "u", "undo", "Take the last change by hand back; of this session or another."),
    Action("dialogue", "add", "a", "add", "Add chats, role play, scripts or training data: a file, a folder or a zip."),
    Action("dialogue", "build", "b", "build", "Freeze a snapshot: by what it is split is asked; its data card is shown."),
    Action("dialogue", "preview", "p", "as model", "The conversation as the model sees it: template, tokens, what carries loss."),
    Action("dialogue", "menu", "f", "filters", "Filters there is something for, with how many rows each shows."),
    Action("dialogue", "mark", "space", "mark", "Mark a row: what is done next is done to all that are marked."),
    Action("dialogue", "merge", "m", "merge", "Make one row of the marked ones; without marks, of this one and the next."),
    Action("dialogue", "delete", "d", "delete", "Take rows out of the dialogue.", dangerous=True),
    Action("dialogue", "check", "c", "checks", "The checks: how many rows each flags; thresholds, on and off, personal data."),
    Action("dialogue", "snapshots", "n", "snapshots", "The frozen builds of the dialogue: rows, tokens, what was left out."),
    Action("dialogue", "redo", "U", "", "Do what was undone last again."),
    Action("dialogue", "mark_all", "asterisk", "", "Mark all rows that are shown; once more: none."),
    Action("dialogue", "go_to", "o", "", "Go to a row by its number."),
    Action("dialogue", "show_all", "escape", "", "Stop the adding, building or searching that goes on; show all rows; take the marks away."),
    Action("dialogue-checks", "read", "enter", "rows", "Show the rows that the selected check flagged in the browser."),
    Action("dialogue-checks", "threshold", "t", "threshold", "Move its threshold, which is kept in checks.toml; the check runs by it."),
    Action("dialogue-checks", "on_off", "space", "on/off", "Switch the selected check on or off."),
    Action("dialogue-checks", "reject", "x", "reject", "Reject every row that the selected check flagged: kept, never built.", dangerous=True),
    Action("dialogue-checks", "clean", "w", "personal", "Personal data: what there is, and what would stand there instead; then replace it."),
    Action("dialogue-checks", "run", "r", "run", "Run all checks that are on."),
    Action("dialogue-checks", "run_one", "o", "one", "Run the selected check alone; also one that runs only when asked for."),
    Action("dialogue-checks", "undo", "u", "undo", "Take the last change of rows back."),
    Action("dialogue-checks", "stop", "escape", "", "Stop the checking that is going on; else back to the rows."),
    Action("dialogue-cleaning", "toggle_kind", "space", "on/off", "Switch the selected kind of personal data on or off."),
    Action("dialogue-cleaning", "way", "p", "how", "Marks such as [mail], or pseudonyms that stay the same everywhere."),
    Action("dialogue-cleaning", "names", "n", "names", "Names that are not to be in it; they are kept in checks.toml."),
    Action("dialogue-cleaning", "switch", "tab", "kinds/places", "From the kinds to the examples and back."),
    Action("dialogue-cleaning", "read", "enter", "before/after", "The selected example in full, before and after."),
    Action("dialogue-cleaning", "apply", "s", "do it", "Replace it in all rows; u takes it back.", dangerous=True),
    Action("dialogue-cleaning", "undo", "u", "undo", "Take the last change of rows back."),
    Action("dialogue-cleaning", "again", "r", "again", "Look through the rows again."),
    Action("dialogue-cleaning", "stop", "escape", "", "Stop the looking through that is going on; else back."),
    Action("conversation", "edit", "e", "edit", "Change the turn under the cursor; an empty text takes it out."),
    Action("conversation", "accept", "y", "accept", "Accept this row and go to the next; once more: open again."),
    Action("conversation", "reject", "x", "reject", "Reject it (kept, and never built) and go to the next."),
    Action("conversation", "tag", "t", "tag", "Give it tags, or take tags away."),
    Action("conversation", "split", "s", "split", "Cut it in two before the turn under the cursor."),
    Action("conversation", "undo", "u", "undo", "Take the last change by hand back."),
    Action("conversation", "preview", "p", "as model", "As the model sees it: template, tokens, what carries loss."),
    Action("conversation", "previous", "left,h", "previous", "The conversation before this one."),
    Action("conversation", "next", "right,l", "next", "The conversation after this one."),
    Action("conversation", "merge", "m", "merge", "Make one row of this one and the next."),
    Action("conversation", "edit_all", "E", "", "Open the whole conversation in $EDITOR."),
    Action("conversation", "redo", "U", "", "Do what was undone last again."),
    Action("adding", "take", "enter,s", "add", "Add what is shown to the dialogue."),
    Action("adding", "who", "w", "who is who", "Say who is the character, who is the user, who is left out."),
    Action("adding", "cut", "c", "cut", "After how long a silence a talk ends, how long a burst is, how many replies a row has."),
    Action("adding", "format", "f", "format", "Read it as another format."),
    Action("reader", "find", "slash", "find", "Scroll to the next place with a text."),
    Action("reader", "find_next", "n", "next", "The next place with the same text."),
    Action("reader", "edit", "e", "edit", "Open this file in $EDITOR."),
    Action("preview", "previous", "left,h", "previous", "The conversation before this one."),
    Action("preview", "next", "right,l", "next", "The conversation after this one."),
    Action("preview", "tokens", "t", "tokens", "Mark the borders of all tokens, or only what carries loss."),
    Action("train", "start_cpt", "c", "CPT", "Continued pre-training on the lore: plan, recipe, start."),
    Action("train", "start_sft", "s", "SFT", "Fine-tuning on the dialogue: plan, recipe, start."),
    Action("train", "start_dpo", "d", "DPO", "Preference (DPO) on the pairs from votes: plan, recipe, start."),
    Action("train", "start_orpo", "o", "", "Preference (ORPO) on the pairs from votes: plan, recipe, start."),
    Action("train", "pairs", "p", "pairs", "Make pairs of all votes and corrections and freeze them: what DPO and ORPO read."),
    Action("train", "follow", "enter", "follow", "The selected run: curves, events, log."),
    Action("train", "mark", "space", "mark", "Mark a run to be laid over others."),
    Action("train", "compare", "v", "compare", "The marked runs laid over one another: curves, and where the recipes differ."),
    Action("train", "log", "l", "", "The selected run's log."),
    Action("train", "retry", "r", "retry", "Queue a failed, cancelled or interrupted run again; it resumes."),
    Action("train", "cancel", "x", "cancel", "Ask the selected run to save and stop.", dangerous=True),
    Action("train", "pause", "z", "pause", "Save and stop the selected run, or hold it back; once more: it goes on."),
    Action("train", "move('up')", "K", "", "The selected run one place forward in the queue."),
    Action("train", "move('down')", "J", "", "The selected run one place back in the queue."),
    Action("train", "move('first')", "F", "", "The selected run to the front of the queue."),
    Action("train", "pause_queue", "P", "", "Start nothing more on this machine; once more: the queue goes on."),
    Action("train", "give_way", "w", "", "Let the studio's servers stop for the selected run and come back after it."),
    Action("start", "edit", "enter", "change", "Change the selected value of the recipe."),
    Action("start", "default", "u,backspace", "default", "Set the selected value back to where the recipe file had it."),
    Action("start", "card", "c", "card", "Set the recipe to what suits a card of a given size."),
    Action("start", "fit", "f", "", "Where it does not fit: make the change that the plan names."),
    Action("start", "measure", "m", "", "Try a few steps of this recipe here, so that the plan tells the time."),
    Action("start", "parent", "p", "parent", "Choose the checkpoint it starts from."),
    Action("start", "start", "s", "start", "Queue the run."),
    Action("run", "log", "l", "log", "Events or the log below the chart."),
    Action("run", "reading", "d", "reading", "What its numbers mean, in plain words, and what to try next."),
    Action("run", "probes", "p", "probes", "What she said to the probes at each evaluation: leaf through step by prompt."),
    Action("run", "save_now", "s", "", "Save a state and a checkpoint at the end of this step; it goes on."),
    Action("run", "extend", "e", "", "Queue one epoch more, from its last checkpoint."),
    Action("run", "branch", "n", "", "Another way from the same start: its recipe, to be changed and queued anew."),
    Action("run", "compare", "v", "compare", "Lay another run over this one: curves, and where the recipes differ."),
    Action("run", "recipe", "i", "recipe", "The recipe and inputs it really runs with."),
    Action("run", "retry", "r", "retry", "Queue it again after it failed, was cancelled or interrupted; it resumes."),
    Action("run", "cancel", "x", "cancel", "Ask it to save and stop.", dangerous=True),
    Action("run", "pause", "z", "pause", "Save and stop it, or hold it back; once more: it goes on."),
    Action("run", "move('first')", "F", "", "To the front of the queue."),
    Action("run", "give_way", "w", "", "Let the studio's servers stop for it and come back after it."),
    Action("compare", "across", "a", "across", "Across by steps, or by tokens where the steps of the runs are of different size."),
    Action("probes", "earlier", "left,h", "earlier", "The evaluation before this one."),
    Action("probes", "later", "right,l", "later", "The evaluation after this one."),
    Action("probes", "next_prompt", "n,tab", "next prompt", "The next probe, at the same step."),
    Action("probes", "previous_prompt", "p,shift+tab", "previous", "The probe before, at the same step."),
    Action("checkpoints", "card", "enter", "card", "Everything known about the selected checkpoint."),
    Action("checkpoints", "mark", "space", "mark", "Mark it for serving or review."),
    Action("checkpoints", "train_from", "t", "train", "Train on from the selected checkpoint."),
    Action("checkpoints", "quantize", "z", "quantize", "Make it smaller for serving: FP8, INT8, 4-bit; what it would be is told first."),
    Action("checkpoints", "serve", "s", "serve", "Start an engine with the marked (or selected) checkpoints."),
    Action("checkpoints", "review", "v", "review", "Compare the marked checkpoints blind."),
    Action(
        "checkpoints",
        "herself",
        "h",
        "herself?",
        "Is she still herself? A quantized or merged one against its parent; measured if it was not.",
    ),
    Action("checkpoints", "against_parent", "b", "blind", "Hear the selected checkpoint and its parent in a blind review."),
    Action("checkpoints", "merge", "m", "merge", "Make one of the marked checkpoints, or fold the selected adapter into its weights."),
    Action("checkpoints", "best", "o", "", "Which is best by a number: validation loss, gap, lore questions, surprise, recited, blind votes."),
    Action("checkpoints", "salvage", "a", "salvage", "Merges that may save failed checkpoints: queued, then heard beside their parents."),
    Action("checkpoints", "delete", "d", "delete", "Delete a checkpoint that nothing was made from.", dangerous=True),
    Action("chooser", "mark", "space", "mark", "Mark a checkpoint for the review: two to eight."),
    Action("chooser", "begin", "enter", "begin", "Begin a blind review of the marked checkpoints."),
    Action("chooser", "ranking", "k", "ranking", "The ranking from all votes so far, with intervals."),
    Action("serve", "start", "s", "start", "Start an engine: choose checkpoints and engine."),
    Action("serve", "chat", "enter", "chat", "Chat with a served checkpoint."),
    Action("serve", "copy", "y", "copy", "Copy address and key for SillyTavern, curl and others."),
    Action("serve", "lines", "p", "lines", "Lines to paste into SillyTavern, Open WebUI, curl, the OpenAI client."),
    Action("serve", "add", "a", "add", "Load another adapter into the selected server, without a restart."),
    Action("serve", "remove", "d", "take out", "Take the selected adapter out of its server, which goes on."),
    Action("serve", "log", "l", "log", "The selected server's log."),
    Action("serve", "stop", "x", "stop", "Stop the selected server.", dangerous=True),
    Action("chat", "focus_input", "i", "write", "Write a message; Enter sends, Escape leaves the field."),
    Action("chat", "again", "r", "again", "Another reply to the same message."),
    Action("chat", "stop", "s", "stop", "Stop the reply that is being written."),
    Action("chat", "copy", "y", "copy", "Copy the last reply."),
    Action("chat", "fresh", "n", "new", "Begin a new conversation; this one is kept in chats/."),
    Action("review", "vote('1')", "1", "", "The first reply is the best: more her than the others."),
    Action("review", "vote('2')", "2", "", "The second reply is the best."),
    Action("review", "vote('3')", "3", "", "The third reply is the best."),
    Action("review", "vote('4')", "4", "", "The fourth reply is the best."),
    Action("review", "choose('left')", "left", "left", "Of two replies: the left one is more her. Of more: go to the one before."),
    Action("review", "choose('right')", "right", "right", "Of two replies: the right one is more her. Of more: go to the one after."),
    Action("review", "vote('tie')", "equals_sign,0", "tie", "All equally her."),
    Action("review", "vote('both_bad')", "x", "both bad", "None of them is her."),
    Action(
        "review",
        "next",
        "enter",
        "next",
        "The next round: one that waits, one written ahead, the next probe. Of more than two replies: this one is the best.",
    ),
    Action("review", "skip", "s", "skip", "Next round without a vote; stop what is being written."),
    Action("review", "undo", "u", "undo", "Take the last vote back."),
    Action("review", "again", "r", "again", "The same prompt once more to the same checkpoints."),
    Action("review", "tag", "t", "tag", "Say why: tags for the coming vote."),
    Action("review", "note", "n", "note", "Say why in your own words: a note for the coming vote."),
    Action("review", "edit", "e", "edit", "After the vote: write what she should have said, from the winning reply (else the one you went to)."),
    Action("review", "swipe(1)", "right_square_bracket", "another", "After the vote: another reply of the same checkpoint to the same prompt."),
    Action("review", "swipe(-1)", "left_square_bracket", "", "Back to the reply before."),
    Action("review", "take", "y", "take it", "Take the reply that is shown instead of the one that won."),
    Action("review", "keep", "f", "keep", "Keep the talk that won as dialogue to train on (SFT), with where it came from."),
    Action("review", "continue", "c", "continue", "Go on talking from the reply that won, as it was corrected."),
    Action("review", "branch", "b", "branch", "Go on from an earlier turn of this talk."),
    Action("review", "focus_input", "i", "write", "Write a prompt; Enter sends, Escape leaves the field."),
    Action("review", "source", "a", "ask from", "Choose where the prompt comes from: a probe, held-out dialogue, her greeting, a pasted scene."),
    Action("review", "probe", "p", "probe", "Put the next probe to all sides."),
    Action("review", "write_ahead", "w", "write ahead", "Have all checkpoints answer a list of prompts ahead, one after the other, as a run."),
    Action("review", "system", "m", "system", "Change the system prompt and author's note for the coming rounds."),
    Action("review", "pane", "tab", "look at", "Go to the next reply; where not all have room, this brings them on screen."),
    Action(
        "review", "inspect", "d", "details", "What was really sent and drawn: prompt tokens, sampler, seeds, speed. Who is who only after the vote."
    ),
    Action("review", "origin", "o", "origin", "After the vote: the training rows that are nearest to this reply, and what they share."),
    Action("review", "ranking", "k", "ranking", "The ranking so far, with intervals."),
    Action("review", "new", "N", "new", "Begin another review: choose checkpoints."),
)


def actions_of(screen: str) -> list[Action]:
    return [action for action in ACTIONS if action.screen == screen]


KEY_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "equals_sign": "=",
    "left": "←",
    "right": "→",
    "enter": "⏎",
    "space": "␣",
    "escape": "esc",
    "asterisk": "*",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
}


def shown_key(action: Action) -> str:
    """The key as the footer and help print it: ``←/1``, ``ctrl+p``."""
    return "/".join(KEY_NAMES.get(key, key) for key in action.keys.split(","))


def bindings_of(screen: str) -> list[BindingType]:
    """Textual bindings of a screen (or of the ``app``). None of them takes keys from a focused text field, but for ``ctrl+p`` and ``f1``."""
    return [
        Binding(
            action.keys,
            action.id,
            action.label or action.help,
            show=bool(action.label),
            key_display=shown_key(action),
            tooltip=action.help,
            id=f"{screen}.{action.id}",
        )
        for action in actions_of(screen)
    ]
