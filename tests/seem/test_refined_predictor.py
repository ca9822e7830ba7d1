"""The predictor of models with a mask refiner: each kind of question, and the same bits."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from grounding.errors import PromptError
from grounding.region import Point, Stroke
from seem import refined_predictor
from seem.detector import Detections
from seem.marks import Marks, pixel_marks
from seem.question import Question
from seem.refined_predictor import HALF_CERTAIN, RefinedPredictor
from seem.session import Session
from seem.vocabulary import Vocabulary
from tests.seem.predicting import HEIGHT, THINGS, WIDTH, picture, ready, ready_refined
from tests.seem.tiny import tiny_refined_seem, tiny_seem

GRID = (184, 256)  # of maps: the answers are 731 x 1024, padded to 736 x 1024, at stride 4


def detected(predictor: RefinedPredictor, *things: tuple[tuple[float, ...], float, str]) -> None:
    """Let the detector have found things: (box, score, class)."""
    predictor.image.detections = Detections(
        boxes=torch.tensor([box for box, _, _ in things]).view(-1, 4),
        scores=torch.tensor([score for _, score, _ in things]),
        labels=torch.tensor([THINGS.index(name) for _, _, name in things], dtype=torch.long),
    )


def asks(predictor: RefinedPredictor) -> dict[str, Callable]:
    """One question of each kind."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 20:50] = True
    exemplar = predictor.exemplar(picture(3), box=[20, 20, 40, 45])
    return {
        "point": lambda: predictor.predict(points=[[12, 9]]),
        "points": lambda: predictor.predict(points=[[12, 9], [20, 12]], labels=[1, 0]),
        "stroke": lambda: predictor.predict(strokes=[[[5, 5], [40, 30], [60, 10]]]),
        "box": lambda: predictor.predict(box=[10, 5, 45, 40]),
        "box and point": lambda: predictor.predict(box=[10, 5, 45, 40], points=[[12, 9]]),
        "mask": lambda: predictor.predict(mask=mask),
        "text": lambda: predictor.predict(text="the dogs"),
        "text and point": lambda: predictor.predict(text="a cat", points=[[30, 30]]),
        "reference": lambda: predictor.predict(reference=exemplar),
    }


def test_every_question_has_a_mask_of_the_images_size() -> None:
    predictor = ready_refined()
    for name, ask in asks(predictor).items():
        masks, scores, logits = ask()
        assert masks.shape == (1, HEIGHT, WIDTH), name
        assert masks.dtype == torch.bool, name
        assert logits.shape == (1, *GRID), name
        assert scores.shape == (1,), name
        assert 0 <= scores[0] <= 1, name
        if name != "text":  # of random boxes; the other tests would compare nothing
            assert 0.01 < masks.float().mean() < 0.99, name


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    predictor = ready_refined()
    first = {name: ask() for name, ask in asks(predictor).items()}
    for name, ask in reversed(asks(predictor).items()):
        predictor.find(["dog"], threshold=0.9)
        assert same(ask(), first[name]), name
    fresh = ready_refined()
    fresh.set_image(picture(8))
    fresh.predict(points=[[1, 1]])
    fresh.set_image(picture())
    for name in ("box", "points", "text"):
        assert same(asks(fresh)[name](), first[name]), name


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_questions_asked_together_get_the_answers_they_get_alone() -> None:
    predictor, size = ready_refined(), (HEIGHT, WIDTH)
    questions = [
        Question(text="cat"),
        Question(marks=pixel_marks(size, points=[[12, 9], [60, 40]], labels=[1, 0])),
        Question(marks=pixel_marks(size, box=[10, 5, 45, 40])),
        Question(audio="a dog"),
    ]
    together = predictor.ask(questions, batch=4)
    for question, got in zip(reversed(questions), reversed(together), strict=True):
        assert same(predictor.ask([question])[0], got)
    with pytest.raises(PromptError, match="batch must be at least 1"):
        predictor.ask(questions, batch=0)


def test_more_masks_do_not_change_the_best() -> None:
    predictor = ready_refined()
    one = predictor.predict(points=[[12, 9]])
    three = predictor.predict(points=[[12, 9]], multimask=True)
    assert three.masks.shape == (3, HEIGHT, WIDTH)
    assert three.logits.shape == (3, *GRID)
    for few, many in zip(one, three, strict=True):
        assert torch.equal(few[0], many[0])
    assert three.scores[1] >= three.scores[2]


@pytest.mark.parametrize("size", [(1, 1), (2, 200), (90, 3)])
def test_pictures_of_any_form_can_be_asked_about(size: tuple[int, int]) -> None:
    predictor, (height, width) = ready_refined(), size
    predictor.set_image(picture(0, *size))
    mask = np.zeros(size, bool)
    mask[height // 2, width // 2] = True
    middle = [width // 2, height // 2]
    for asked in (
        {"points": [middle, [0, 0]]},
        {"box": [*middle, middle[0] + 0.3, middle[1] + 0.4]},
        {"mask": mask},
        {"strokes": [[[0, 0], [width - 1, height - 1]]]},
    ):
        assert predictor.predict(**asked).masks.shape == (1, *size)


def test_a_boxs_answer_ends_with_the_box() -> None:
    predictor = ready_refined()
    masks = predictor.predict(box=[10, 5, 45, 40], multimask=True).masks
    beyond = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    beyond[5:40, 10:45] = False
    assert masks.any()
    assert not masks[:, beyond].any()


def test_masks_and_their_logits_say_the_same() -> None:
    predictor = ready_refined()
    masks, _, logits = predictor.predict(points=[[12, 9]])
    high, wide = (side // 4 for side in predictor.image.size.image)
    grown = torch.nn.functional.interpolate(masks[None].float(), (high, wide), mode="area")[0]
    agree = ((logits[:, :high, :wide] > 0) == (grown > 0.5)).float().mean()
    assert agree > 0.95  # the map is coarser than the masks
    assert (logits[:, high + 1 :] < 0).all()  # padding


def test_the_previous_mask_counts() -> None:
    predictor = ready_refined()
    logits = predictor.predict(points=[[12, 9]], multimask=True).logits
    plain = predictor.predict(points=[[12, 9]])
    refined = predictor.predict(points=[[12, 9]], previous=logits[1])
    assert not torch.equal(plain.logits, refined.logits)
    assert same(predictor.predict(points=[[12, 9]], previous=logits[1:2]), refined)
    with pytest.raises(PromptError, match=r"\[1, 184, 256\]; got \[3, 184, 256\]: take logits"):
        predictor.predict(points=[[12, 9]], previous=logits)
    with pytest.raises(PromptError, match=r"got \[1, 16, 24\]"):
        predictor.predict(points=[[12, 9]], previous=torch.zeros(1, 16, 24))
    with pytest.raises(PromptError, match="finite"):
        predictor.predict(points=[[12, 9]], previous=logits[:1] / 0)


def test_words_are_the_detectors_classes() -> None:
    predictor = ready_refined()
    left, right = (0.1, 0.1, 0.4, 0.8), (0.5, 0.2, 0.9, 0.9)
    detected(predictor, (right, 0.8, "dog"), (left, HALF_CERTAIN, "dog"), (left, 0.3, "cat"))
    best = predictor.predict(text="the dog")
    assert torch.equal(best.masks, predictor.predict(box=pixels(right)).masks)
    assert best.scores[0] > 0.8
    with_click = predictor.predict(text="dog", points=[[15, 20]])
    assert with_click.scores[0] == pytest.approx(0.5)
    beside = predictor.predict(text="dog", points=[[50, 30]], labels=[0])
    assert beside.scores[0] == pytest.approx(0.5)
    box = predictor.predict(text="dog", box=pixels(left))
    assert torch.equal(box.masks, predictor.predict(box=pixels(left)).masks)
    with pytest.raises(PromptError, match="does not know 'sky'; it knows: cat, dog, hot dog"):
        predictor.predict(text="sky")


def pixels(box: tuple[float, ...]) -> list[float]:
    return [side * (WIDTH, HEIGHT)[i % 2] for i, side in enumerate(box)]


def test_what_is_not_there_has_an_empty_mask_and_score_zero() -> None:
    predictor = ready_refined()
    detected(predictor, ((0.1, 0.1, 0.4, 0.8), 0.9, "dog"))
    for text in ("cat", "dog"):
        masks, scores, logits = predictor.predict(text=text, points=[[60, 40]], labels=[0])
        assert masks.shape == (1, HEIGHT, WIDTH)
        assert logits.shape == (1, *GRID)
        assert bool(masks.any()) == bool(scores[0] > 0) == (text == "dog")
    drawn = predictor.predict(text="cat", box=[10, 5, 45, 40])  # it is drawn all the same
    assert torch.equal(drawn.masks, predictor.predict(box=[10, 5, 45, 40]).masks)
    assert drawn.scores[0] == 0
    assert predictor.find(["cat"])[0].masks.shape == (0, HEIGHT, WIDTH)


def test_how_marks_fit_a_box() -> None:
    box, fit = (0.2, 0.2, 0.6, 0.6), refined_predictor._fit
    inside, outside = (0.3, 0.3), (0.7, 0.3)

    def points(*marks: tuple[tuple[float, float], int]) -> Marks:
        return Marks(points=tuple(Point(xy=xy, label=1 if sign else 0) for xy, sign in marks))

    assert fit(points((inside, 1), (outside, 0)), box) == 1
    assert fit(points((outside, 1)), box) == 0
    assert fit(points((inside, 0)), box) == 0.5
    assert fit(Marks(strokes=(Stroke(xy=(inside, outside)),)), box) == 0.5
    assert fit(Marks(box=(0.2, 0.2, 0.6, 0.4)), box) == pytest.approx(0.5)
    mask = np.zeros((10, 10), bool)
    mask[2:6, 2:4] = True
    assert fit(Marks(mask=mask), box) == pytest.approx(0.5)


def test_find_returns_things_down_to_a_threshold() -> None:
    predictor = ready_refined()
    things = [
        ((0.05, 0.1, 0.3, 0.9), 0.9),
        ((0.35, 0.1, 0.6, 0.9), 0.5),
        ((0.65, 0.1, 0.95, 0.9), 0.2),
    ]
    detected(predictor, *((box, score, "dog") for box, score in things))
    counts = []
    for threshold in (0.99, 0.6, 0.3, 0.0):
        dogs, cats = predictor.find(["dogs", "cat"], threshold=threshold)
        assert (dogs.text, cats.text) == ("dogs", "cat")
        assert len(dogs.masks) == len(dogs.scores) == len(dogs.logits)
        assert (dogs.scores >= threshold).all()
        assert (dogs.scores.diff() <= 0).all()
        assert dogs.masks.flatten(1).any(1).all()
        assert not len(cats.masks)
        counts.append(len(dogs.masks))
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] > 1
    for bad, message in (("dog", "one string"), (["sky"], "does not know"), ([""], "one word")):
        with pytest.raises(PromptError, match=message):
            predictor.find(bad)
    with pytest.raises(PromptError, match="threshold must lie in"):
        predictor.find(["dog"], threshold=2.0)


def test_things_are_named_where_nothing_is_asked() -> None:
    predictor = ready_refined()
    detected(
        predictor,
        ((0.05, 0.1, 0.5, 0.9), 0.9, "dog"),
        ((0.55, 0.1, 0.95, 0.9), 0.8, "person"),
        ((0.2, 0.2, 0.4, 0.4), 0.06, "cat"),  # not certain enough to take part
    )
    found = predictor.instances()
    assert {THINGS[label] for label in found.labels[:2]} == {"dog", "person"}
    assert "cat" not in {THINGS[label] for label in found.labels[found.scores > 0.01]}
    segments = predictor.panoptic(object_threshold=0.5).segments
    assert {THINGS[segment.label] for segment in segments} <= {"dog", "person"}
    assert segments
    with pytest.raises(PromptError, match="names things, not what lies between them"):
        predictor.semantic(["dog", "person"])
    only = predictor.instances(["dogs"])
    assert set(only.labels.tolist()) <= {0}
    with pytest.raises(PromptError, match="does not know 'sky'"):
        predictor.panoptic(["dog", "sky"])
    with pytest.raises(PromptError, match="'dog' and 'puppy' are one class"):
        predictor.instances(["dog", "puppy"])


def test_nothing_found_is_nothing_named() -> None:
    predictor = ready_refined()
    detected(predictor)
    assert predictor.panoptic().segments == ()
    assert not predictor.panoptic().map.any()
    assert not len(predictor.instances().masks)


def test_what_cannot_be_asked_is_refused_in_one_line() -> None:
    predictor = ready_refined()
    exemplar = predictor.exemplar(picture(3), points=[[20, 20]])
    for asked, message in (
        ({}, "nothing is asked"),
        ({"points": [[5, 5]], "labels": [0]}, "only negative marks"),
        ({"reference": exemplar, "points": [[5, 5]]}, "shown a reference alone"),
        ({"reference": exemplar, "text": "dog"}, "shown a reference alone"),
        ({"reference": exemplar, "previous": torch.zeros(GRID)}, "shown a reference alone"),
    ):
        with pytest.raises(PromptError, match=message):
            predictor.predict(**asked)
    with pytest.raises(PromptError, match="needs a positive mark"):
        predictor.exemplar(points=[[5, 5]], labels=[0])
    with pytest.raises(PromptError, match="no mask refiner"):
        RefinedPredictor(tiny_seem("v1"))
    with pytest.raises(PromptError, match="knows 5 classes .* has 2 things"):
        RefinedPredictor(tiny_refined_seem(), vocabulary=Vocabulary(things=("cat", "dog")))


def test_a_reference_is_what_it_shows() -> None:
    predictor = ready_refined()
    one, other = (
        predictor.exemplar(picture(3), box=box) for box in ([20, 20, 40, 45], [2, 2, 15, 15])
    )
    assert one.tokens.looks is not None
    answers = [predictor.predict(reference=exemplar).logits for exemplar in (one, other)]
    assert not torch.equal(*answers)


@pytest.mark.parametrize("refined", [True, False])
def test_undone_answers_come_back_bit_for_bit(refined: bool) -> None:
    session = Session(ready_refined() if refined else ready())
    answers = [session.click(12, 9), session.click(40, 30, 0), session.stroke([[10, 5], [20, 9]])]
    assert same(session.answer, answers[2])
    assert same(session.undo(), answers[1])
    assert same(session.undo(), answers[0])
    assert same(session.redo(), answers[1])
    assert session.kept_bytes < session.bytes


def test_long_work_can_be_ended() -> None:
    predictor = ready_refined()
    detected(predictor, ((0.05, 0.1, 0.5, 0.9), 0.9, "dog"))

    def stop() -> None:
        raise TimeoutError

    predictor.check = stop
    for ask in (lambda: predictor.find(["dog"]), predictor.panoptic, predictor.instances):
        with pytest.raises(TimeoutError):
            ask()
