"""Sessions, compound questions and the order of questions, of a predictor with a refiner."""

import random

import numpy as np
import pytest
import torch

from grounding.errors import PromptError
from seem.detector import Detections
from seem.encoded_image import EncodedImage
from seem.predictor import Predictor
from seem.question import Prediction
from seem.ranking import OUTSIDE
from seem.refined_predictor import RefinedPredictor
from seem.session import Session
from tests.seem.predicting import THINGS, picture, ready, refined_predictor

HEIGHT, WIDTH = 100, 150
BOXES = {  # in pixels
    "dog on the left": (10, 20, 50, 80),
    "dog on the right": (90, 20, 140, 80),
    "person": (60, 10, 85, 90),
}


def detected(image: EncodedImage) -> EncodedImage:
    """An image on which the detector has found two dogs and a person."""
    boxes = torch.tensor(list(BOXES.values())) / torch.tensor([WIDTH, HEIGHT] * 2)
    labels = torch.tensor([THINGS.index(name.split()[0]) for name in BOXES])
    scores = torch.tensor([0.8, 0.6, 0.7])
    image.detections = Detections(boxes=boxes, scores=scores, labels=labels)
    return image


@pytest.fixture
def predictor() -> RefinedPredictor:
    predictor = refined_predictor()
    predictor.set_image(detected(predictor.encode(picture(0, HEIGHT, WIDTH))))
    return predictor


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def within(answer: Prediction, name: str) -> bool:
    """Whether an answer lies in the box of a thing: beyond it all logits are the least."""
    inside = answer.logits[0] > OUTSIDE + 0.01
    rows, columns = (inside.any(axis).nonzero()[:, 0] * WIDTH / 256 for axis in (1, 0))
    a, b, c, d = BOXES[name]
    spread = 2  # pixels: the map's cells are larger than the image's
    x0, y0, x1, y1 = (float(v) for v in (columns[0], rows[0], columns[-1], rows[-1]))
    assert int(inside.sum()) > 100
    return a - spread <= x0 and b - spread <= y0 and x1 <= c + spread and y1 <= d + spread


def test_undo_and_redo_bring_masks_back_bit_for_bit(predictor):
    """Masks are finer than the logits, from which they cannot be restored."""
    predictor.set_image(picture(1, 700, 900))
    session = Session(predictor)
    answers = [
        session.click(200, 300),
        session.click(600, 80, 0),
        session.add(box=[9, 9, 700, 600]),
    ]
    assert same(session.undo(), answers[1])
    assert same(session.undo(), answers[0])
    assert same(session.redo(), answers[1])
    assert same(session.redo(), answers[2])


def test_rounds_are_all_marks_and_the_last_mask(predictor):
    session = Session(predictor)
    first = session.click(20, 30)
    second = session.click(100, 40, 0)
    asked = {"points": [[20, 30], [100, 40]], "labels": [1, 0]}
    assert same(second, predictor.predict(**asked, previous=first.logits[:1]))
    assert not torch.equal(second.logits, predictor.predict(**asked).logits)
    assert session.answer is not None
    assert session.answer.logits.shape == first.logits.shape


def test_what_a_session_weighs_is_its_answers(predictor):
    session = Session(predictor)
    sizes = []
    for count in range(4):
        answer = session.click(10 + 20 * count, 40)
        sizes.append(session.bytes)
    steps = np.diff(sizes)
    assert all(steps >= answer.logits.nbytes)
    assert all(steps < answer.logits.nbytes + HEIGHT * WIDTH)


def test_answers_do_not_depend_on_what_was_asked_before(predictor):
    image = picture(0, HEIGHT, WIDTH)
    asked = [
        {"points": [[30, 40]]},
        {"points": [[30, 40], [110, 50]], "labels": [1, 0]},
        {"box": [5, 10, 60, 90]},
        {"box": [70, 10, 140, 60], "points": [[100, 30]]},
        {"strokes": [[[20, 20], [60, 70]]]},
        {"mask": np.eye(HEIGHT, WIDTH) > 0},
        {"text": "dog"},
        {"text": "person", "points": [[70, 50]]},
        {"reference": predictor.exemplar(box=[10, 20, 50, 80])},
        *({"box": [n, n, n + 40, n + 40]} for n in range(5, 50, 5)),  # closer looks are forgotten
    ]
    expected = []
    for question in asked:
        predictor.set_image(detected(predictor.encode(image)))
        expected.append(predictor.predict(**question))
    order = list(range(len(asked))) * 2
    random.Random(0).shuffle(order)
    predictor.set_image(detected(predictor.encode(image)))
    session = Session(predictor)
    for number in order:
        assert same(predictor.predict(**asked[number]), expected[number]), asked[number]
        session.click(number, number)


def test_closer_looks_are_bounded_and_keep_no_picture(predictor):
    for n in range(5, 50, 3):
        predictor.predict(box=[n, n, n + 40, n + 40])
    closer = predictor.image.closer
    assert 1 < len(closer) <= 8
    assert all(view.picture is None for view in closer.values())
    assert all(max(view.size.padded) <= 1024 for view in closer.values())
    assert all(view.memory.padded_size <= (256, 256) for view in closer.values())


@pytest.mark.parametrize("said", ["text", "audio"])
@pytest.mark.parametrize(
    ("drawn", "name"),
    [
        ({}, "dog on the left"),
        ({"points": [[100, 50]]}, "dog on the right"),
        ({"points": [[30, 50]], "labels": [0]}, "dog on the right"),
        ({"strokes": [[[100, 30], [120, 60]]]}, "dog on the right"),
        ({"strokes": [[[20, 30], [40, 60]]], "stroke_labels": [0]}, "dog on the right"),
        ({"box": [89, 19, 141, 81]}, "dog on the right"),
        ({"points": [[100, 50], [30, 50]], "labels": [1, 0]}, "dog on the right"),
    ],
)
def test_what_is_drawn_says_which_one_is_meant(predictor, said, drawn, name):
    answer = predictor.predict(**drawn, **{said: "The brown dogs!"})
    assert within(answer, name)
    assert answer.scores[0] > 0
    only = predictor.predict(**drawn, **{said: "dog"})
    assert same(answer, only)


def test_a_mask_says_which_one_is_meant(predictor):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:60, 100:130] = True
    answer = predictor.predict(text="dog", mask=mask)
    assert within(answer, "dog on the right")
    assert not within(predictor.predict(text="dog"), "dog on the right")


def test_text_and_speech_must_mean_the_same(predictor):
    both = predictor.predict(text="dog", audio="a puppy")
    assert same(both, predictor.predict(text="dog"))
    with pytest.raises(PromptError, match="the text says 'dog' and the speech 'a cat'"):
        predictor.predict(text="dog", audio="a cat")


def test_an_exemplar_may_lie_on_the_same_image(predictor):
    here = predictor.exemplar(points=[[20, 20]])
    there = predictor.exemplar(picture(0, HEIGHT, WIDTH), points=[[20, 20]])
    assert same(predictor.predict(reference=here), predictor.predict(reference=there))


def test_words_that_are_known(predictor):
    assert predictor.knows("the black dogs")
    assert not predictor.knows("llama")
    assert ready().knows("llama")
    assert not Predictor(ready().model).knows("dog")
