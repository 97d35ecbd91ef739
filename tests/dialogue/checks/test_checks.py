"""Each check finds what is planted for it and nothing in what is good; its threshold moves; what it found is kept by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.dialogue import checks
from studio.dialogue.checks import CHECKS, Settings, faults, load_settings, read_change, run, save_settings
from studio.dialogue.checks.base import Context
from studio.dialogue.flags import by_row, flagged, ran, stamp, standing, text_of
from studio.dialogue.formats import Message
from studio.dialogue.store import Row, get_row
from studio.errors import StudioError, UsageError
from studio.persona.folder import Persona
from tests.dialogue.checks.making import good, put, row

A = "Tell me about the harbour, will you?"
B = "It lies where the river forgets its name, and so do I."

PLANTED: dict[str, list[Row]] = {
    "empty-turn": [row(A, "…", "And then?", B)],
    "one-sided": [row("?", B * 20, "?", B * 30)],
    "turn-order": [Row("dorder", [Message("user", A), Message("assistant", B), Message("assistant", "And so it was."), Message("user", A)])],
    "speaks-first": [Row("dfirst", [Message("assistant", B), Message("user", A), Message("assistant", "So they say.")])],
    "few-exchanges": [row(A, B)],
    "many-exchanges": [row(*[f"{A} {n}" if n % 2 == 0 else f"{B} {n}" for n in range(90)])],
    "long-reply": [row(A, " ".join(f"{B[:-1]}, {n}." for n in range(60)), "So?", "So.")],
    "assistant-speak": [
        row(A, "As an AI language model, I have no harbour.", "?!", B),
        row("你好吗？", "作为一个人工智能语言模型，我没有感情。", "真的吗？", "真的，就是这样。"),
        row("Segítesz?", "Nyugodtan kérdezz bármit, remélem ez segít neked ma is.", "Jó?", "Jó, akkor menjünk haza most."),
    ],
    "refusal": [
        row(A, "I'm sorry, but I can't assist with that request.", "Why?", B),
        row("お願い。", "申し訳ありませんが、そのリクエストにはお応えできません。", "なぜ？", "なぜなら、海が静かだからです。"),
        row(A, "Es tut mir leid, aber dabei kann ich nicht helfen.", "Wieso?", "Weil das Meer heute sehr still ist."),
    ],
    "slop": [row(A, "A shiver ran; shivers down my spine, a testament to the tapestry of it all.", "Hm?", B)],
    "language": [row(A, "Vámonos a casa, que ya es tarde y tengo frío.", "Hm?", "No sé lo que quieres de mí esta noche.")],
    "link": [row(A, "Look at https://example.org/boats then.", "Hm?", B)],
    "markup": [row(A, "<b>No.</b> It is &quot;there&quot;.", "Hm?", B)],
    "placeholder": [row(A, "Well, {{user}}, sit down.", "Hm?", B), row(A, "Hello [NAME_IN_MESSAGE_REDACTED].", "Hm?", B)],
    "control-token": [row(A, "Sit.<|im_end|>\n<|im_start|>user", "Hm?", B), row(A, "No.</s>", "Hm?", B)],
    "lost-character": [row(A, "She said \ufffdno\ufffd.", "Hm?", B), row(A, "Itâ€™s over there, by the window.", "Hm?", B)],
    "symbols": [row(A, "★☆★☆★☆★☆ the end ★☆★☆★☆", "Hm?", B)],
    "stretched": [row(A, "Noooooooooooooooo! Not that one.", "Hm?", B)],
    "repeated-word": [row(A, "I put it on the the shelf.", "Hm?", B)],
    "unbalanced": [
        row(A, "*She looks up. It is there.", "Hm?", B),
        row(A, "He said \"no, and that was it.", "Hm?", B),
        row("在哪里？", "他说：「不在这里，你去别处找。", "真的？", "真的不在这里。"),
    ],
    "broken-off": [row(A, "It lies where the river forgets its name and so does the", "Hm?", B)],
    "mail": [row(A, "Write to anna.kiss@gmail.com then.", "Hm?", B)],
    "phone": [row("Call me: +36 20 123 4567", B, "Hm?", "So be it, then.")],
    "ip": [row(A, "The server is 84.2.44.8, he said.", "Hm?", B)],
    "card": [row(A, "4111 1111 1111 1111, and the date on its back.", "Hm?", B)],
    "iban": [row(A, "Send it to DE89 3704 0044 0532 0130 00.", "Hm?", B)],
    "name": [row(A, "Ask Zsófia, she knows.", "Hm?", B)],
}  # fmt: skip


def test_every_check_has_its_planted_rows() -> None:
    elsewhere = {"near-duplicate", "soft-duplicate", "overused", "too-long", "judge-vocabulary", "judge-prose", "judge-context"}
    assert set(PLANTED) | elsewhere == {check.name for check in CHECKS.values() if not check.asked_only}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Persona, checks.Outcome]:
    """All planted rows among two hundred good ones, checked once."""
    from studio.persona.folder import create

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_HOME", str(tmp_path_factory.mktemp("home")))
        persona = create("Wen", parent=tmp_path_factory.mktemp("persona"))
        put(persona, [*good(200), *(planted for rows in PLANTED.values() for planted in rows)])
        save_settings(persona, Settings(languages=["en", "zh", "ja", "de", "hu"], names=["Zsófia"]))
        return persona, run(persona)


@pytest.mark.parametrize("name", PLANTED)
def test_a_check_finds_what_is_planted_for_it(everything: tuple[Persona, checks.Outcome], name: str) -> None:
    found = next(finding for finding in everything[1].checks if finding.check == name)
    assert not found.skipped
    missed = {planted.id for planted in PLANTED[name]} - {offender.id for offender in found.offenders}
    assert not missed


def test_good_rows_are_flagged_by_none(everything: tuple[Persona, checks.Outcome]) -> None:
    fine = {one.id for one in good(200)}
    wrong = [(finding.check, offender.flags[0].what) for finding in everything[1].checks for offender in finding.offenders if offender.id in fine]
    assert not wrong


def test_flags_say_where_and_are_kept_by_row(everything: tuple[Persona, checks.Outcome]) -> None:
    persona, outcome = everything
    planted = PLANTED["mail"][0]
    (flag,) = (flag for flag in standing(by_row(persona)[planted.id], planted) if flag.check == "mail")
    assert planted.messages[flag.message].content[flag.start : flag.stop] == "anna.kiss@gmail.com"
    (kept,) = (one for one in flagged(persona, ["mail"]) if one.id == planted.id)
    assert kept.text == text_of(get_row(persona, planted.id))
    assert ran(persona)["mail"].offenders == len(flagged(persona, ["mail"])) == 1
    assert set(ran(persona)) == {finding.check for finding in outcome.checks if not finding.skipped}
    assert outcome.flagged == len(by_row(persona))


@pytest.mark.parametrize(
    "text",
    [
        "I know that that is how it had had to be. No no, bye bye.",
        'He said: "Go."\n\n"I went on," he said, "and on.\n\n"And then home." :) It was 6\'2" tall. 3 * 4 is 12.',
        "*smiles* **really** and f*ck that; a) one, b) two.",
        "„Gut“, sagte sie. »Nein«, er. “Fine,” she said. 「好。」",
        "I can't help it; I cannot go on like this, said the model of a ship. I am sorry.",
        "At 12:30:45 on 2019-05-12 we had 10,000,000 of them, 1801 1802 1803, version 1.2.3.4, std::vector.",
        "Hahaha!!! Wow... What?! ~♪",
    ],
)
def test_what_people_write_is_not_flagged(persona: Persona, text: str) -> None:
    save_settings(persona, Settings(languages=["en", "de"]))
    put(persona, [*good(60), row("And so?", text, "Really?", "Yes, as I said before.", "Hm.", "Hm, indeed, you know.", line=0)])
    mine = [(f.check, o.flags[0].what) for f in run(persona).checks for o in f.offenders if o.line == 0]
    assert not mine


def test_near_and_soft_duplicates(persona: Persona) -> None:
    rows = good(80)
    twice = [m.content for m in rows[7].messages]
    like = row(*twice[:-1], twice[-1].replace("night", "evening") + " So.", line=900)
    refrain = "Mind the eleventh step on your way down, it is loose."
    rows += [like] + [row(f"{A} {n}?", f"{B} {n * 17}", f"{n} more?", refrain, line=1000 + n) for n in range(4)]
    put(persona, rows)
    found = {finding.check: finding for finding in run(persona, ["near-duplicate", "soft-duplicate"]).checks}
    assert [(o.id, o.flags[0].other) for o in found["near-duplicate"].offenders if o.line == 900] == [(like.id, rows[7].id)]
    assert {o.line for o in found["soft-duplicate"].offenders} >= {1000, 1001, 1002, 1003}
    assert "4 rows" in next(f.what for o in found["soft-duplicate"].offenders for f in o.flags if "Mind" in f.what)
    assert not [o for o in run(persona, ["soft-duplicate"], {"soft-duplicate": 5}).checks[0].offenders if "Mind" in o.flags[0].what]


def test_overused_runs_are_counted_by_row_and_told_once(persona: Persona) -> None:
    rows = good(100)
    rows += [row(A, f"That is, my opinion is that {n} boats are {n * 7} too many.", "Hm?", f"{B[:20]} {n}, {n * 3}.") for n in range(12)]
    rows += [
        row("在吗？", f"登记一下编号一万一千四百{'零一二三四五六七八九'[n]}号的箱子。", "好。", f"去吧{'甲乙丙丁戊己庚辛壬癸'[n]}。")
        for n in range(9)
    ]
    put(persona, rows)
    (finding,) = run(persona, ["overused"], {"overused": 0.07}).checks
    assert any("opinion is that" in remark and "12 rows" in remark for remark in finding.remarks)
    assert any("编号一万一千" in remark and "9 rows" in remark for remark in finding.remarks)
    assert len([remark for remark in finding.remarks if "opinion" in remark]) == 1
    assert not run(persona, ["overused"], {"overused": 0.2}).checks[0].offenders


def test_thresholds_come_from_the_command_then_the_file_then_the_check(persona: Persona) -> None:
    put(persona, [*good(5), row(A, B)])
    assert len(run(persona, ["few-exchanges"]).checks[0].offenders) == 1
    save_settings(persona, Settings(thresholds={"few-exchanges": 4.0}, off=["link"]))
    assert len(run(persona, ["few-exchanges"]).checks[0].offenders) == 6
    assert not run(persona, ["few-exchanges"], {"few-exchanges": 1.0}).checks[0].offenders
    assert "link" not in {finding.check for finding in run(persona).checks}
    assert read_change("slop=3", CHECKS) == ("slop", 3.0)
    for wrong in ("slop", "slope=3", "slop=many"):
        with pytest.raises(UsageError):
            read_change(wrong, CHECKS)
    with pytest.raises(UsageError, match="There is no check 'slope'"):
        run(persona, ["slope"])
    (persona.root / "checks.toml").write_text("thresholds = 3\n")
    with pytest.raises(StudioError, match=r"checks\.toml"):
        run(persona)
    (persona.root / "checks.toml").write_text("[thresholds]\nslope = 3\n")
    with pytest.raises(StudioError, match="slope"):
        run(persona)


def test_a_later_run_replaces_the_flags_of_its_checks_alone(persona: Persona) -> None:
    put(persona, [*good(3), row(A, B), PLANTED["mail"][0]])
    run(persona)
    before = stamp(persona)
    run(persona, ["few-exchanges"], {"few-exchanges": 1.0})
    assert stamp(persona) != before
    assert {flag.check for each in flagged(persona) for flag in each.flags} == {"mail"}


def test_rejected_rows_are_not_looked_at_and_an_empty_set_is_fine(persona: Persona) -> None:
    assert run(persona).rows == 0
    put(persona, [*good(3), row(A, B, state="rejected")])
    outcome = run(persona, ["few-exchanges"])
    assert (outcome.rows, outcome.flagged) == (3, 0)


def test_faults_for_people_name_file_row_and_check(persona: Persona) -> None:
    put(persona, [*good(3), *PLANTED["mail"]])
    assert [str(fault) for fault in faults(run(persona, ["mail"]))] == [
        f"chat.jsonl:1: {PLANTED['mail'][0].id}: mail: a mail address: “Write to anna.kiss@gmail.com then.”"
    ]
    assert [f.what.split(": ")[1] for f in checks.check(persona)] == ["mail"]


def small_base(folder: Path) -> Path:
    """A base as far as checks look at one: a tokenizer of words and a ChatML template."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(
        [AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True), AddedToken("<endofall>", special=True)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<endofall>"}')
    (folder / "config.json").write_text('{"max_position_embeddings": 100}')
    return folder


def test_too_long_by_the_bases_tokenizer_and_template(persona: Persona, tmp_path: Path) -> None:
    from studio.checkpoints.base import load_tokenizer
    from studio.checkpoints.templates import render, template_for

    assert "base" in run(persona, ["too-long"]).checks[0].skipped
    persona.manifest.base = str(base := small_base(tmp_path / "base"))
    persona.manifest.character.system_prompt = "You are Wen."
    rows = [*good(4), row(A, B * 2, "Hm?", B), row(A, f"{B[:-1]} <endofall>", "Hm?", B)]
    put(persona, rows)
    tokenizer, template = load_tokenizer(base), template_for(base)
    lengths = {}
    for one in rows:
        messages = [{"role": "system", "content": "You are Wen."}, *({"role": m.role, "content": m.content} for m in one.messages)]
        lengths[one.id] = len(tokenizer.encode(render(template, messages), add_special_tokens=False))
    (finding,) = run(persona, ["too-long"], {"too-long": 80}).checks
    assert {o.id: o.flags[0].value for o in finding.offenders} == {identity: length for identity, length in lengths.items() if length > 80}
    assert 0 < len(finding.offenders) < 6
    # The base's context is shorter than the recipe's length.
    assert {o.id for o in run(persona, ["too-long"]).checks[0].offenders} == {identity for identity, length in lengths.items() if length > 100}
    assert [o.id for o in run(persona, ["control-token"]).checks[0].offenders] == [rows[-1].id]


def test_she_may_speak_first_where_the_template_has_a_place_for_it(persona: Persona, tmp_path: Path) -> None:
    put(persona, PLANTED["speaks-first"])
    assert run(persona, ["speaks-first"]).flagged == 1
    persona.manifest.base = str(small_base(tmp_path / "base"))
    assert run(persona, ["speaks-first"]).flagged == 0


def test_figures_of_lengths_and_turns(persona: Persona) -> None:
    assert checks.stats(persona)["rows"] == 0
    put(persona, [*good(19), row(*(["aa", "bbbbbbbb"] * 5)), row("system?", "b" * 500)])
    found = checks.stats(persona)
    assert (found["rows"], found["turns"], found["replies"]) == (21, 19 * 6 + 12, 19 * 3 + 6)
    assert found["exchanges_median"] == 3 and found["rows_of_4_to_6_exchanges"] == pytest.approx(1 / 21, abs=1e-3)
    lengths = sorted((len(m.content) for one in good(19) for m in one.messages if m.role == "assistant"), reverse=True)
    assert found["reply_characters_1_in_20_longer"] == sorted([*lengths, *[8] * 5, 500], reverse=True)[3]
    assert found["tokens"] is None and found["sources"] == {"chat.jsonl": 21}


def test_a_language_of_a_third_of_the_rows_is_hers_wherever_they_stand(persona: Persona) -> None:
    english = [
        row(f"And number {n}?", f"Number {n} has been on the shelf by the stove since the rain began, and nobody asked for it.") for n in range(120)
    ]
    put(persona, [*english, *(row(f"{n}号呢？", f"{n}号一直在炉子旁边的架子上，没人来领。") for n in range(50))])
    context = Context(persona, load_settings(persona))
    assert context.languages == ["en", "zh"]
