"""A sitting goes on where it was, whatever ended it."""

import pytest

from studio.errors import StudioError
from studio.persona.folder import Persona
from studio.review.probes import opening
from studio.review.rounds import Round, Sampling
from studio.review.sitting import Sitting, resume


@pytest.fixture
def sitting(persona: Persona) -> Sitting:
    for name in ("cpt-1-e1", "sft-1-e1"):
        (persona.checkpoints / name).mkdir()
        (persona.checkpoints / name / "checkpoint.toml").write_text(f'id = "{name}"\nname = "{name}"\nstage = "cpt"\nparent = "base"\n')
    persona.probes.write_text(
        '{"id":"p1","kind":"open","prompt":"Who are you?"}\n{"id":"p2","kind":"cloze","prompt":"The kettle is","answer":"hot","wrong":["Bob"]}\n'
    )
    return Sitting(persona, resume(persona, ["base", "sft-1-e1"]))


def played(sitting: Sitting, prompt: str = "Tea?", finish: str = "stop", source: str = "typed") -> Round:
    dealt = sitting.deal(opening(sitting.persona, prompt), source)
    for side in dealt.sides:
        side.reply, side.finish = "Sit down.", finish
    return sitting.keep(dealt)


def test_the_same_checkpoints_go_on_with_the_same_review(sitting: Sitting) -> None:
    persona = sitting.persona
    assert resume(persona).id == sitting.review.id
    assert resume(persona, ["sft-1-e1", "base"]).id == sitting.review.id
    assert resume(persona, ["cpt-1-e1", "base"]).id != sitting.review.id
    assert resume(persona, ["cpt-1-e1", "base"], Sampling(temperature=0.1)).id == "review-3"


def test_rounds_wait_for_their_vote_over_a_restart_but_failed_ones_do_not(sitting: Sitting) -> None:
    first, failed, second = played(sitting), played(sitting, finish="error"), played(sitting)
    again = Sitting(sitting.persona, sitting.review)
    assert [r.id for r in again.waiting] == [first.id, second.id] and failed.id not in {r.id for r in again.waiting}
    again.vote(first, "1")
    assert [r.id for r in Sitting(sitting.persona, sitting.review).waiting] == [second.id]
    assert again.undo().id == first.id
    assert [r.id for r in again.waiting] == [first.id, second.id]


def test_probes_come_in_order_and_once(sitting: Sitting) -> None:
    assert sitting.next_probe().id == "p1"
    played(sitting, source="probe:p1")
    assert sitting.next_probe().id == "p2"
    played(sitting, source="probe:p2")
    with pytest.raises(StudioError, match="All 2 probes were used"):
        sitting.next_probe()


def test_votes_on_a_checkpoint_made_anew_under_an_old_name_tell_nothing(sitting: Sitting) -> None:
    one = played(sitting)
    sitting.vote(one, "1")
    assert len(sitting.telling_votes()) == 1
    card = sitting.persona.checkpoints / "sft-1-e1" / "checkpoint.toml"
    card.write_text(card.read_text() + '[digests]\n"model.safetensors" = "other"\n')
    assert sitting.telling_votes() == []


def test_three_checkpoints_are_paired_by_what_is_uncertain(sitting: Sitting) -> None:
    three = Sitting(sitting.persona, resume(sitting.persona, ["base", "cpt-1-e1", "sft-1-e1"]))
    met = set()
    for _ in range(6):
        one = played(three)
        met |= {side.checkpoint for side in one.sides}
        three.vote(one, "tie")
    assert met == {"base", "cpt-1-e1", "sft-1-e1"}
