"""The predictor: SAM's conventions, any prompt, and the same bits whatever else was asked."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from grounding.errors import PromptError
from grounding.picture_file import as_seen
from seem.config import GroupingName
from seem.marks import pixel_marks
from seem.model import Seem
from seem.predictor import Predictor
from seem.preprocess import preprocess
from seem.prompt import Prompt
from seem.question import Question
from seem.ranking import BOX_MARGIN
from tests.seem.predicting import HEIGHT, WIDTH, picture, ready, tiny_predictor
from tests.seem.tiny import tiny_seem

FORMS: tuple[GroupingName, ...] = ("demo", "v0", "v1")


def asks(predictor: Predictor) -> dict[str, Callable]:
    """One question of each kind."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 20:50] = True
    exemplar = predictor.exemplar(picture(3), points=[[20, 20]])
    return {
        "point": lambda: predictor.predict(points=[[12, 9]]),
        "points": lambda: predictor.predict(points=[[12, 9], [60, 40]], labels=[1, 0]),
        "stroke": lambda: predictor.predict(strokes=[[[5, 5], [40, 30], [60, 10]]]),
        "box": lambda: predictor.predict(box=[10, 5, 45, 40]),
        "mask": lambda: predictor.predict(mask=mask),
        "text": lambda: predictor.predict(text="a lava llama"),
        "text and point": lambda: predictor.predict(text="a lava llama", points=[[30, 30]]),
        "text and not": lambda: predictor.predict(text="llama", points=[[30, 30]], labels=[0]),
        "text and box": lambda: predictor.predict(text="llama", box=[10, 5, 45, 40]),
        "reference": lambda: predictor.predict(reference=exemplar),
    }


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    for grouping in FORMS:
        predictor = ready(grouping)
        first = {name: ask() for name, ask in asks(predictor).items()}
        for name, ask in reversed(asks(predictor).items()):
            predictor.find(["dog", "cat"], threshold=0.3)
            for again, before in zip(ask(), first[name], strict=True):
                assert torch.equal(again, before), (grouping, name)
        fresh = ready(grouping)
        fresh.set_image(picture(8))
        fresh.predict(points=[[1, 1]])
        fresh.set_image(picture())
        assert torch.equal(asks(fresh)["box"]().logits, first["box"].logits)


@pytest.mark.parametrize("grouping", FORMS)
def test_questions_asked_together_get_the_answers_they_get_alone(grouping: GroupingName) -> None:
    predictor, size = ready(grouping), (HEIGHT, WIDTH)
    questions = [
        Question(text="llama"),
        Question(marks=pixel_marks(size, points=[[12, 9], [60, 40]], labels=[1, 0])),
        Question(reference=predictor.exemplar(picture(3), points=[[20, 20]])),
        Question(marks=pixel_marks(size, box=[10, 5, 45, 40])),
        Question(text="a much longer text about a llama"),
        Question(marks=pixel_marks(size, strokes=[[[5, 5], [40, 30]]]), text="llama"),
    ]
    alone = [predictor.ask([question])[0] for question in questions]
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 3, 0]):
        together = predictor.ask([questions[i] for i in order])
        for i, got in zip(order, together, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(got, alone[i], strict=True)), i
    for got, wanted in zip(predictor.ask(questions, batch=4), alone, strict=True):
        torch.testing.assert_close(got.logits, wanted.logits, rtol=1e-3, atol=1e-3)


def test_more_masks_do_not_change_the_best() -> None:
    for grouping in FORMS:
        predictor = ready(grouping)
        one = predictor.predict(points=[[12, 9]])
        three = predictor.predict(points=[[12, 9]], multimask=True)
        assert three.masks.shape == (3, HEIGHT, WIDTH)
        assert three.logits.shape == (3, 16, 24)
        for few, many in zip(one, three, strict=True):
            assert torch.equal(few[0], many[0])


def test_a_click_is_what_the_model_says_of_it() -> None:
    """Against the model's own pipeline; the picture already has the model's size."""
    predictor, model = tiny_predictor("v0"), tiny_seem("v0")
    pixels = picture(0, 64, 96)
    predictor.set_image(pixels)
    masks, scores, logits = predictor.predict(points=[[50, 20]])
    prepared = preprocess([torch.from_numpy(pixels).permute(2, 0, 1)], divisor=32)
    memory = model.encode_image(prepared.pixels)
    bitmap = torch.zeros(1, 64, 96, dtype=torch.bool)
    bitmap[0, 19:22, 49:52] = True
    prompt = Prompt(spatial=model.encode_marks(memory, bitmap))
    answer = model.answer(memory, model.decode(memory, [prompt]), prompt, "spatial")
    torch.testing.assert_close(logits, answer.mask_logits, rtol=1e-3, atol=1e-3)
    full = torch.nn.functional.interpolate(logits[None], (64, 96), mode="bilinear")[0]
    assert torch.equal(masks, full > 0)
    inside = full.sigmoid()[full > 0]
    torch.testing.assert_close(scores, inside.mean()[None], rtol=1e-4, atol=1e-5)


def test_the_previous_mask_counts() -> None:
    for grouping in ("v0", "v1"):
        predictor = ready(grouping)
        logits = predictor.predict(points=[[12, 9]], multimask=True).logits
        plain = predictor.predict(points=[[12, 9]]).logits
        refined = predictor.predict(points=[[12, 9]], previous=logits[1]).logits
        assert not torch.equal(plain, refined)
        again = predictor.predict(points=[[12, 9]], previous=logits[1:2]).logits
        assert torch.equal(again, refined)
    with pytest.raises(PromptError, match="no memory"):
        ready("demo").predict(points=[[12, 9]], previous=logits[:1])


def test_a_box_with_corners_bounds_its_mask_and_one_without_does_not() -> None:
    box = [20, 10, 40, 30]
    for grouping in FORMS:
        bounded = ready(grouping).predict(box=box, multimask=True).masks
        ys, xs = bounded.nonzero()[:, 1:].unbind(1)
        slack = 4 + BOX_MARGIN * 20  # the mask map has a cell for every 3 pixels here
        assert len(xs)
        assert xs.min() >= 20 - slack
        assert xs.max() <= 40 + slack
        assert ys.min() >= 10 - slack
        assert ys.max() <= 30 + slack
        predictor = ready(grouping, box_mode="centre")
        answer = predictor.predict(box=box)
        click = predictor.predict(points=[[30, 20]])
        assert answer.masks.sum() > bounded[0].sum()
        assert answer.logits.shape == click.logits.shape


def test_a_text_and_a_negative_click_avoid_the_clicked() -> None:
    predictor = ready("v1")
    masks = predictor.predict(text="llama", multimask=True).masks
    y, x = masks[0].nonzero()[len(masks[0].nonzero()) // 2].tolist()
    other = predictor.predict(text="llama", points=[[x, y]], labels=[0])
    assert masks[0, y, x]
    assert not other.masks[0, y, x]
    wanted = predictor.predict(text="llama", points=[[x, y]])
    assert wanted.masks[0, y, x]


def test_find_returns_instances_that_differ() -> None:
    predictor = ready("v1")
    both = predictor.find(["llama", "dog"], threshold=0.2, overlap=0.6)
    assert [found.text for found in both] == ["llama", "dog"]
    for found in both:
        assert len(found.masks) == len(found.scores) == len(found.logits) >= 1
        assert (found.scores[1:] <= found.scores[:-1]).all()
        assert found.masks.flatten(1).any(1).all()
    (alone,) = predictor.find(["dog"], threshold=0.2, overlap=0.6)
    assert all(torch.equal(a, b) for a, b in zip(alone[1:], both[1][1:], strict=True))
    more = float(alone.scores.min()) + 1e-3  # the probability is more than that, the score is less
    assert (predictor.find(["dog"], threshold=more, overlap=0.6)[0].scores >= more).all()
    (none,) = predictor.find(["dog"], threshold=1.0)
    assert none.masks.shape == (0, HEIGHT, WIDTH)


def test_classes_are_found_at_the_size_of_the_image() -> None:
    predictor = ready("v1")
    names = ["llama", "volcano", "sky"]
    whole = predictor.panoptic(names, things=["llama"], object_threshold=0.0)
    assert whole.map.shape == (HEIGHT, WIDTH)
    assert len(predictor.instances(names, things=[]).masks) == 0
    assert predictor.instances(names).masks.shape[1:] == (HEIGHT, WIDTH)
    labels = predictor.semantic(names)
    assert set(labels.unique().tolist()) <= {0, 1, 2}
    reordered = predictor.semantic(names[::-1])
    assert (2 - reordered == labels).float().mean() > 0.99
    with pytest.raises(PromptError, match="unknown: dog"):
        predictor.panoptic(names, things=["dog"])


def test_images_can_be_encoded_ahead_and_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = tiny_predictor()
    images = [predictor.encode(picture(seed, 40 + seed, 60)) for seed in (1, 2)]
    answers = []
    for image in (*images, *images):
        predictor.set_image(image)
        answers.append(predictor.predict(points=[[3, 3]]))
    assert torch.equal(answers[0].logits, answers[2].logits)
    assert torch.equal(answers[1].logits, answers[3].logits)
    assert answers[1].masks.shape == (1, 42, 60)
    monkeypatch.setattr(Seem, "encode_image", None)
    predictor.predict(box=[3, 3, 9, 9])


def test_gray_palette_and_transparent_images_become_rgb() -> None:
    predictor, rgb = tiny_predictor(), picture()
    gray = rgb[:, :, 0]
    alpha = np.dstack([rgb, gray])
    pairs = [
        (gray, np.dstack([gray] * 3)),
        (Image.fromarray(gray), np.dstack([gray] * 3)),
        (alpha, np.asarray(as_seen(Image.fromarray(alpha)))),  # on white
        (Image.fromarray(alpha), np.asarray(as_seen(Image.fromarray(alpha)))),
        (torch.from_numpy(rgb), rgb),
        (rgb[:, ::-1], np.ascontiguousarray(rgb[:, ::-1])),
    ]
    for given, meant in pairs:
        first, second = predictor.encode(given), predictor.encode(meant)
        assert torch.equal(first.memory.mask_features, second.memory.mask_features)


@pytest.mark.parametrize(
    "image",
    [
        picture().astype(np.float32),
        np.zeros((3, 50, 70), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        Image.new("F", (5, 5)),
        "llama.png",
        None,
    ],
)
def test_what_is_no_image_is_refused(image: object) -> None:
    with pytest.raises(PromptError, match="image"):
        tiny_predictor().set_image(image)


def test_questions_that_make_no_sense_are_refused() -> None:
    predictor = ready("v1")
    logits = predictor.predict(points=[[1, 1]]).logits
    exemplar = predictor.exemplar(points=[[4, 4]])
    for arguments, message in (
        ({}, "nothing is asked"),
        ({"points": [[1, 1]], "labels": [0]}, "only negative"),
        ({"text": " "}, "at least one word"),
        ({"text": 5}, "at least one word"),
        ({"text": "llama", "previous": logits}, "give its marks again"),
        ({"points": [[1, 1]], "previous": logits[:, 1:]}, r"\[1, 16, 24\]"),
        ({"points": [[1, 1]], "previous": logits * torch.nan}, "finite"),
        ({"points": [[1, 1]], "reference": exemplar}, "not with both"),
        ({"points": [[WIDTH, 1]]}, "must lie on the image"),
    ):
        with pytest.raises(PromptError, match=message):
            predictor.predict(**arguments)
    with pytest.raises(PromptError, match="must be a list"):
        predictor.find("llama")
    with pytest.raises(PromptError, match="threshold must lie"):
        predictor.find(["llama"], threshold=2)
    with pytest.raises(PromptError, match="batch must be"):
        predictor.ask([], batch=0)
    with pytest.raises(PromptError, match="positive mark"):
        predictor.exemplar(points=[[4, 4]], labels=[0])


def test_a_demo_model_takes_marks_and_a_reference_together() -> None:
    predictor = ready("demo")
    exemplar = predictor.exemplar(picture(3), points=[[4, 4]])
    both = predictor.predict(points=[[1, 1]], reference=exemplar)
    assert both.masks.shape == (1, HEIGHT, WIDTH)


def test_what_is_missing_is_said() -> None:
    predictor = tiny_predictor()
    with pytest.raises(PromptError, match="call set_image first"):
        predictor.predict(points=[[1, 1]])
    with pytest.raises(PromptError, match="box_mode must be one of corners, outline, centre"):
        tiny_predictor(box_mode="middle")
    wordless = Predictor(tiny_seem("v1"), resizing=predictor.resizing)
    wordless.set_image(picture())
    wordless.predict(points=[[1, 1]])
    for ask in (lambda: wordless.predict(text="llama"), lambda: wordless.panoptic(["llama"])):
        with pytest.raises(PromptError, match="need a tokenizer"):
            ask()
