"""Planner: a model proposes, rules check and mend, and lay out where it fails."""

import pytest

from grounding.errors import PromptError
from grounding.planning.agreement import agree
from grounding.stickers.vocabulary import CONCEPTS
from pipelines.planning.form import LgdForm
from pipelines.planning.planner import Planner, usual_shape
from tests.pipelines.scripted import ScriptedSpeaker

CAPTION = "two llamas left of a volcano, without trees"
RIGHT = (
    "Objects: [('llama', [10, 10, 200, 200]), ('llama', [10, 260, 200, 200]), "
    "('volcano', [280, 100, 220, 300])]\nBackground prompt: none\nNegative prompt: trees"
)
WRONG = "Objects: [('llama', [280, 10, 200, 200]), ('volcano', [10, 100, 220, 300])]"


def planned(*answers: str, attempts: int = 3):
    speaker = ScriptedSpeaker(*answers)
    planner = Planner(speaker=speaker, form=LgdForm(), name="scripted", attempts=attempts)
    return planner.plan(CAPTION, seed=4), speaker


def test_rules_alone() -> None:
    plan = Planner().plan(CAPTION, seed=1)
    assert plan.planner == "rules"
    assert agree(plan.document, plan.graph, names=CONCEPTS).is_right
    assert plan.document.prompt == CAPTION
    assert plan.document.negative_prompt == "tree"
    assert plan == Planner().plan(CAPTION, seed=1)
    assert plan.document.regions != Planner().plan(CAPTION, seed=2).document.regions


def test_a_right_answer_is_taken_as_it_is() -> None:
    plan, speaker = planned(RIGHT)
    assert (plan.planner, plan.repairs, plan.failures) == ("scripted", (), ())
    assert plan.document.regions[2].box == (280 / 512, 100 / 512, 500 / 512, 400 / 512)
    [(conversation, decoding)] = speaker.asked
    assert conversation.turns[-1].text == f"Caption: {CAPTION}"
    assert decoding.temperature == 0


def test_an_answer_that_differs_is_mended_and_every_repair_is_kept() -> None:
    plan, speaker = planned(WRONG, attempts=1)
    assert len(speaker.asked) == 1
    assert agree(plan.document, plan.graph, names=CONCEPTS).is_right
    assert any(repair.startswith("added llama") for repair in plan.repairs)
    assert any(repair.startswith("moved") for repair in plan.repairs)
    told = plan.document.provenance.settings
    assert told["planner"] == "scripted"
    assert [told[f"repair {i + 1}"] for i in range(len(plan.repairs))] == list(plan.repairs)


def test_a_better_answer_is_preferred_and_the_model_asked_no_more() -> None:
    plan, speaker = planned(WRONG, "I cannot.", RIGHT, WRONG, attempts=4)
    assert len(speaker.asked) == 3
    assert plan.repairs == ()
    assert len(plan.failures) == 1
    temperatures = [decoding.temperature for _, decoding in speaker.asked]
    seeds = [decoding.seed for _, decoding in speaker.asked]
    assert temperatures == [0, 0.7, 0.7]
    assert seeds == [4, 5, 6]


def test_rules_lay_out_where_the_model_gives_nothing() -> None:
    plan, speaker = planned("no", "Objects: [('cat', [0, 0, 99, 99])]", "Objects: [(")
    assert len(speaker.asked) == 3
    assert plan.planner == "rules"
    assert plan.document.regions == Planner().plan(CAPTION, seed=4).document.regions
    assert len(plan.failures) == 3
    assert "none of the things" in plan.failures[1]


def test_what_was_not_understood_is_told() -> None:
    settings = Planner().plan("a llama eating a banana").document.provenance.settings
    assert settings["unread 1"] == "eating"


def test_a_caption_without_things_is_refused() -> None:
    with pytest.raises(PromptError, match="names nothing that could be put into a box"):
        Planner().plan("at night")


def test_stickers_have_shapes_of_their_own() -> None:
    assert usual_shape("giraffe") < 1 < usual_shape("bus")
    assert usual_shape("lighthouse") == 1
