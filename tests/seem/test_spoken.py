"""Spoken words: where a model has queries for them they are used, elsewhere they are a text."""

import pytest
import torch

from grounding.errors import PromptError
from seem.question import Question
from tests.seem.predicting import ready


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("marks", [{}, {"points": [(20, 20)]}])
def test_speech_is_a_text_to_models_without_a_place_for_it(marks):
    predictor = ready("v1")
    spoken = predictor.predict(audio="brown dog", **marks)
    assert same(spoken, predictor.predict(text="brown dog", **marks))


def test_speech_has_a_place_of_its_own_in_demo_models():
    predictor = ready("demo")
    spoken, written = predictor.predict(audio="brown dog"), predictor.predict(text="brown dog")
    assert spoken.masks.shape == written.masks.shape
    assert not torch.equal(spoken.logits, written.logits)
    [one], [other] = (
        predictor.find(["brown dog"], spoken=told, threshold=0.0) for told in (True, False)
    )
    assert len(one.masks) == len(other.masks) or not torch.equal(one.scores, other.scores)


def test_a_mark_beside_the_object_needs_words_of_either_kind():
    predictor = ready("v1")
    beside = {"points": [(20, 20)], "labels": [0]}
    assert len(predictor.predict(audio="dog", **beside).masks) == 1
    with pytest.raises(PromptError, match="only negative marks"):
        predictor.predict(**beside)
    with pytest.raises(PromptError, match="nothing is asked"):
        predictor.ask([Question()])
