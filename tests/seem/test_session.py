"""Sessions: marks add up, memory helps, undo and redo give the same bits back."""

import pytest
import torch

from grounding.errors import PromptError
from seem.config import GroupingName
from seem.question import Prediction
from seem.session import Session
from tests.seem.predicting import picture, ready


def same(first: Prediction | None, second: Prediction | None) -> bool:
    assert first is not None
    assert second is not None
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_rounds_are_all_marks_and_the_last_mask() -> None:
    predictor = ready("v1")
    session = Session(predictor)
    first = session.click(20, 10)
    second = session.click(60, 40, label=0)
    assert same(first, predictor.predict(points=[[20, 10]]))
    by_hand = predictor.predict(
        points=[[20, 10], [60, 40]], labels=[1, 0], previous=first.logits[:1]
    )
    assert same(second, by_hand)
    forgetful = predictor.predict(points=[[20, 10], [60, 40]], labels=[1, 0])
    assert not torch.equal(second.logits, forgetful.logits)


def test_a_model_without_memory_gets_the_marks_alone() -> None:
    predictor = ready("demo")
    session = Session(predictor)
    session.click(20, 10)
    assert same(session.click(30, 12), predictor.predict(points=[[20, 10], [30, 12]]))


def test_undo_and_redo_bring_answers_back() -> None:
    session = Session(ready())
    answers = [session.click(20, 10), session.stroke([[5, 5], [30, 20]]), session.click(50, 40, 0)]
    assert same(session.undo(), answers[1])
    assert same(session.undo(), answers[0])
    assert same(session.redo(), answers[1])
    assert same(session.click(50, 40, 0), answers[2])
    with pytest.raises(PromptError, match="nothing to redo"):
        session.redo()
    assert len(session) == 3
    session.undo()
    session.click(60, 30)
    assert len(session.marks.points) == 2
    session.reset()
    assert session.answer is None
    with pytest.raises(PromptError, match="nothing to undo"):
        session.undo()


def test_the_first_round_can_be_taken_back() -> None:
    session = Session(ready())
    first = session.click(20, 10)
    assert session.undo() is None
    assert not session.marks
    assert same(session.redo(), first)


@pytest.mark.parametrize("grouping", ["v0", "v1", "demo"])
def test_words_boxes_and_clicks_add_up(grouping: GroupingName) -> None:
    predictor = ready(grouping)
    session = Session(predictor)
    assert same(session.add(text="a llama"), predictor.predict(text="a llama"))
    assert same(
        session.click(30, 20, 0),
        predictor.predict(text="a llama", points=[[30, 20]], labels=[0]),
    )
    session.add(box=[5, 5, 40, 40])
    session.click(20, 20)
    assert session.marks.box == pytest.approx((5 / 70, 0.1, 40 / 70, 0.8))
    assert [point.label for point in session.marks.points] == [0, 1]


def test_a_mistake_leaves_the_session_as_it_was() -> None:
    session = Session(ready())
    first = session.click(20, 10)
    with pytest.raises(PromptError, match="must lie on the image"):
        session.click(70, 10)
    with pytest.raises(PromptError, match="nothing is said"):
        session.add()
    assert same(session.answer, first)
    assert len(session) == 1


def test_a_session_keeps_its_image() -> None:
    predictor = ready()
    session, twin = Session(predictor), Session(predictor)
    session.click(20, 10)
    twin.click(20, 10)
    predictor.set_image(picture(5, 40, 90))
    assert same(session.click(40, 40), twin.click(40, 40))
    assert session.answer is not None
    assert session.answer.masks.shape == (1, 50, 70)


def test_a_session_needs_an_image() -> None:
    predictor = ready()
    predictor._image = None
    with pytest.raises(PromptError, match="set_image"):
        Session(predictor)
