"""Spoken words: a text of their own, beside what is written."""

import pytest
import torch

from grounding.errors import PromptError
from seem.attention_groups import Group
from seem.question import Question
from tests.seem.predicting import ready


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("marks", [{}, {"points": [(20, 20)]}])
def test_speech_is_a_text_to_models_without_a_place_for_it(marks):
    predictor = ready("v1")
    spoken = predictor.predict(audio="brown dog", **marks)
    assert same(spoken, predictor.predict(text="brown dog", **marks))


def test_speech_and_text_together_have_places_of_their_own_in_demo_models():
    predictor = ready("demo")
    both = predictor.predict(text="dog", audio="brown dog")
    assert not torch.equal(both.logits, predictor.predict(text="dog").logits)
    grouping = predictor.model.decoder.grouping
    assert grouping.audio not in grouping.attends[Group.TEXT]
    [one], [other] = (
        predictor.find(["brown dog"], spoken=told, threshold=0.0) for told in (True, False)
    )
    assert same(one[1:], other[1:])  # alone, either is all that is said


def test_a_mark_beside_the_object_needs_words_of_either_kind():
    predictor = ready("v1")
    beside = {"points": [(20, 20)], "labels": [0]}
    assert len(predictor.predict(audio="dog", **beside).masks) == 1
    with pytest.raises(PromptError, match="only negative marks"):
        predictor.predict(**beside)
    with pytest.raises(PromptError, match="nothing is asked"):
        predictor.ask([Question()])
