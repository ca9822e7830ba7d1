"""Documents: every region is answered as the predictor would, and answers can be asked again."""

import numpy as np
import pytest
import torch

from grounding.errors import PromptError
from grounding.masks import bitmap_to_rle, rle_to_bitmap
from grounding.prompt import Canvas, GroundedPrompt, Segment
from grounding.region import Point, Reference, Region, Stroke
from seem.vocabulary import Vocabulary
from tests.seem.predicting import HEIGHT, WIDTH, picture, ready

PLACE = ((12 + 0.5) / WIDTH, (9 + 0.5) / HEIGHT)


def found(document: GroundedPrompt, name: str) -> torch.Tensor:
    mask = document.region(name).mask
    assert mask is not None
    return torch.from_numpy(rle_to_bitmap(mask))


def test_each_region_is_answered_in_its_own_way() -> None:
    predictor = ready("v1")
    bitmap = np.zeros((HEIGHT, WIDTH), bool)
    bitmap[10:30, 20:50] = True
    line = [(5, 5), (40, 30)]
    xy = tuple(((x + 0.5) / WIDTH, (y + 0.5) / HEIGHT) for x, y in line)
    document = GroundedPrompt(
        regions=(
            Region(id="point", phrase="a llama", points=(Point(xy=PLACE),)),
            Region(id="stroke", strokes=(Stroke(xy=xy),)),
            Region(id="box", box=(10 / WIDTH, 5 / HEIGHT, 45 / WIDTH, 40 / HEIGHT)),
            Region(id="mask", mask=bitmap_to_rle(bitmap)),
            Region(id="phrase", phrase="a llama"),
            Region(id="not here", phrase="a llama", points=(Point(xy=PLACE, label=0),)),
            Region(id="same", reference=Reference(region="point")),
            Region(id="other", reference=Reference(image="b.png")),
        )
    )
    other = picture(3)
    answer = predictor.predict_document(document, references={"b.png": other})
    assert answer.canvas == Canvas(width=WIDTH, height=HEIGHT)
    same = predictor.exemplar(points=[[12, 9]])
    whole = predictor.exemplar(other, mask=np.ones((HEIGHT, WIDTH), bool))
    for name, prediction in {
        "point": predictor.predict(points=[[12, 9]]),
        "stroke": predictor.predict(strokes=[line]),
        "box": predictor.predict(box=[10, 5, 45, 40]),
        "mask": predictor.predict(mask=bitmap),
        "phrase": predictor.predict(text="a llama"),
        "not here": predictor.predict(text="a llama", points=[[12, 9]], labels=[0]),
        "same": predictor.predict(reference=same),
        "other": predictor.predict(reference=whole),
    }.items():
        assert torch.equal(found(answer, name), prediction.masks[0]), name
        assert answer.region(name).score == pytest.approx(float(prediction.scores[0])), name
    assert answer.region("point").points == (Point(xy=PLACE),)
    again = predictor.predict_document(answer)
    assert again.region("point") == answer.region("point")


def test_referring_asks_by_phrase_among_what_is_drawn() -> None:
    predictor = ready("v1")
    region = Region(id="a", phrase="a llama", points=(Point(xy=PLACE, label=0),))
    document = GroundedPrompt(regions=(region,), segment=Segment(mode="referring"))
    wanted = predictor.predict(text="a llama", points=[[12, 9]], labels=[0])
    assert torch.equal(found(predictor.predict_document(document), "a"), wanted.masks[0])
    nameless = document.replace(regions=(region.replace(phrase=""),))
    with pytest.raises(PromptError, match="'a': segment.mode 'referring' asks by phrase"):
        predictor.predict_document(nameless)


def test_classes_become_regions() -> None:
    predictor, names = ready("v1"), ("llama", "volcano")
    for mode in ("panoptic", "instance", "semantic"):
        document = GroundedPrompt(segment=Segment(mode=mode, classes=names))
        answer = predictor.predict_document(document)
        assert {region.phrase for region in answer.regions} <= set(names)
        assert answer.segment == document.segment
        unnamed = GroundedPrompt(segment=Segment(mode=mode))
        with pytest.raises(PromptError, match="brings no vocabulary"):
            predictor.predict_document(unnamed)
        predictor.vocabulary = Vocabulary(things=names)
        assert predictor.predict_document(unnamed).regions == answer.regions
        predictor.vocabulary = None
    assert answer.regions, "each pixel has a class, so semantic segments exist"


def test_a_document_without_regions_has_no_answers() -> None:
    assert ready().predict_document(GroundedPrompt()).regions == ()


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (Region(id="x"), "region 'x': it does not say what it is"),
        (Region(id="x", points=(Point(xy=PLACE, label=0),)), "region 'x': it does not say"),
        (Region(id="x", reference=Reference(image="b.png")), "'b.png' was not given"),
        (Region(id="x", reference=Reference(image="b", region="r")), "cut the region out"),
        (Region(id="x", mask=bitmap_to_rle(np.zeros((5, 5), bool))), "its mask is empty"),
    ],
)
def test_a_region_that_cannot_be_answered_is_named(region: Region, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        ready().predict_document(GroundedPrompt(regions=(region,)))
