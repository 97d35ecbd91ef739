"""Where the next prompt comes from: one's own words, a probe, held-out dialogue, her greeting, a scene; and which talk it goes on with."""

from __future__ import annotations

from collections.abc import Sequence

from studio.errors import StudioError
from studio.persona.cards import read_card
from studio.review import prompts
from studio.review.probes import Probe, load_probes
from studio.review.sitting import PROBE
from studio.text import one_line
from studio.tui.dialogs import Choice, Choose
from studio.tui.review.asking import Asking
from studio.tui.review.prompt import PromptField
from studio.tui.review.state import Messages, Question, Talk
from studio.tui.review.writing import Writing

CARD_FIELDS = ("description", "personality", "scenario")

HELD_OUT = 60
"""Held-out conversations offered at a time."""


class GoingOn(Asking):
    def action_focus_input(self) -> None:
        if self.refused("focus_input"):
            return
        self.query_one(PromptField).open()
        self.draw()

    def on_prompt_field_left(self) -> None:
        self.draw()

    def on_prompt_field_sent(self, message: PromptField.Sent) -> None:
        talk = self.state.talk
        self.ask(talk.question(message.text) if talk else Question(self.begin(message.text)))

    # -- sources -------------------------------------------------------------------------------------------------------------------

    def action_probe(self) -> None:
        if self.refused("probe") or self.state.sitting is None:
            return
        self.at_desk(self.state.sitting.next_probe, self._put_probe)

    def _put_probe(self, probe: Probe) -> None:
        if not self.why_not("probe"):
            self.ask(Question(self.begin(probe.prompt), PROBE + probe.id))

    def action_source(self) -> None:
        if self.refused("source"):
            return
        choices = [
            Choice("typed", "your own words", "a prompt, in the field"),
            Choice("scene", "a scene", "several lines, typed or pasted"),
            Choice("probe", "a probe", "one of the fixed prompts of probes.jsonl"),
            Choice("dialogue", "held-out dialogue", "a conversation she was never trained on, up to one of the user's turns"),
            Choice("greeting", "her greeting", "what the card has her say first; you answer"),
        ]

        def take(source: str | None) -> None:
            match source:
                case "typed":
                    self.action_focus_input()
                case "scene":
                    self.app.push_screen(Writing([("A scene. ", "strong"), ("All of it is one prompt.", "muted")], done="ask"), self._put_scene)
                case "probe":
                    self.in_thread(lambda: [p for p in load_probes(self.persona) if p.kind == "open"], self._choose_probe)
                case "dialogue":
                    self.in_thread(lambda: prompts.held_out(self.persona, HELD_OUT), self._choose_held_out)
                case "greeting":
                    self.in_thread(lambda: prompts.greetings(self.persona), self._choose_greeting)

        self.app.push_screen(Choose([("Where does the prompt come from?", "strong")], choices), take)

    def _put_scene(self, text: str | None) -> None:
        if text:
            self.ask(Question(self.begin(text), "scene"))

    def _choose(self, question: str, texts: Sequence[tuple[str, str]]) -> Choose:
        return Choose([(question, "strong")], [Choice(str(n), one_line(label), one_line(text)) for n, (label, text) in enumerate(texts)])

    def _choose_probe(self, found: list[Probe]) -> None:
        def take(chosen: str | None) -> None:
            if chosen is not None:
                self._put_probe(found[int(chosen)])

        self.app.push_screen(self._choose("Which probe?", [(p.id, p.prompt) for p in found]), take)

    def _choose_held_out(self, found: list[prompts.Prompt]) -> None:
        if not found:
            self.say("The held-out part of the dialogue has no turn to answer.")
            return

        def take(chosen: str | None) -> None:
            if chosen is not None:
                prompt = found[int(chosen)]
                self.ask(Question(prompt.messages, prompt.source))

        labels = [(f"{sum(m['role'] != 'system' for m in p.messages)} turns", p.messages[-1]["content"]) for p in found]
        self.app.push_screen(self._choose("Which conversation?", labels), take)

    def _choose_greeting(self, found: list[Messages]) -> None:
        def begin(messages: Messages) -> None:
            self.state.talk = Talk([*self.begin("")[:-1], messages[-1]], source="greeting")
            self.action_focus_input()

        def take(chosen: str | None) -> None:
            if chosen is not None:
                begin(found[int(chosen)])

        if not found:
            self.say("The persona has no card with a greeting; her card is set on screen 1.")
        elif len(found) == 1:
            begin(found[0])
        else:
            labels = [(f"greeting {n}", m[-1]["content"]) for n, m in enumerate(found, 1)]
            self.app.push_screen(self._choose("Which greeting?", labels), take)

    # -- the talk ------------------------------------------------------------------------------------------------------------------

    def _said(self, number: int) -> str:
        """What side ``number`` said, as it was corrected."""
        state = self.state
        assert state.round is not None
        return state.takes[number].texts[0] if number in state.corrected else state.round.sides[number].reply

    def action_continue(self) -> None:
        state = self.state
        if self.refused("continue") or state.round is None or state.vote is None or state.sitting is None:
            return
        winner = int(state.vote.verdict) - 1 if state.vote.winner else 0
        talk = Talk([*state.round.messages, {"role": "assistant", "content": self._said(winner)}])
        if state.sitting.review.talk == "own":
            for number, side in enumerate(state.round.sides):
                talk.own[side.checkpoint] = [*side.sent(state.round.messages), {"role": "assistant", "content": self._said(number)}]
        state.talk = talk
        self.action_focus_input()

    def action_branch(self) -> None:
        """Go on from any of her turns of the talk on screen; all sides then share what came before."""
        state = self.state
        if self.refused("branch") or state.round is None:
            return
        talk = list(state.round.messages)
        if state.vote and state.vote.winner:
            talk.append({"role": "assistant", "content": self._said(int(state.vote.verdict) - 1)})
        hers = [n for n, message in enumerate(talk) if message["role"] == "assistant"]
        turns = [Choice(str(n + 1), f"after her turn {hers.index(n) + 1}", one_line(talk[n]["content"])) for n in reversed(hers)]

        def take(chosen: str | None) -> None:
            if chosen is not None:
                kept = talk[: int(chosen)]
                state.talk = Talk(kept) if int(chosen) else None
                self.action_focus_input()

        choices = [*turns, Choice("0", "from the beginning", "nothing was said yet")]
        self.app.push_screen(Choose([("Go on from which turn?", "strong")], choices), take)

    def action_system(self) -> None:
        if self.refused("system"):
            return
        before = self.state.system if self.state.system is not None else self.persona.manifest.character.system_prompt

        def take(text: str | None) -> None:
            if text is not None and text != before:
                self.state.system = text
                if self.state.talk:
                    turns = [m for m in self.state.talk.messages if m["role"] != "system"]
                    self.state.talk.messages = [*self.begin("")[:-1], *turns]
                self.say("The coming rounds are asked under this; the persona's own prompt stays as it is.")

        def write(text: str) -> None:
            question = [("System prompt and author's note ", "strong"), ("for the coming rounds of this sitting.", "muted")]
            self.app.push_screen(Writing(question, text, empty=True), take)

        def ask(read: tuple[dict[str, str], str]) -> None:
            from_card, problem = read
            if problem:
                self.say(problem)
            starts = {"now": before, **from_card}
            if not from_card:
                write(before)
                return
            offered = [
                Choice("now", "as it is now"),
                Choice("prompt", "the card's own prompt"),
                Choice("fields", "the card's fields", ", ".join(CARD_FIELDS)),
            ]
            choices = [choice for choice in offered if choice.key in starts]
            self.app.push_screen(
                Choose("What should they be told? You can change it then.", choices), lambda start: None if start is None else write(starts[start])
            )

        self.in_thread(self._card_texts, ask)

    def _card_texts(self) -> tuple[dict[str, str], str]:
        """What the card offers to be told: its own prompt, and its description, personality and scenario; or why it cannot be read."""
        if not self.persona.card.is_file():
            return {}, ""
        try:
            card = read_card(self.persona.card)
        except StudioError as error:
            return {}, str(error)
        user = self.persona.manifest.character.user
        texts = {"prompt": card.told(user, "system_prompt"), "fields": card.told(user, *CARD_FIELDS)}
        return {name: text for name, text in texts.items() if text}, ""
