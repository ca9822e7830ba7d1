import numpy as np
import pytest
import torch

from grounding.errors import GeometryError, LavallamaError, PromptError
from grounding.masks import rle_to_bitmap
from grounding.prompt import GroundedPrompt, Point, Region
from seem.postprocess import Instances, Panoptic, Segment
from seem.results import (
    answered,
    instances_document,
    instances_info,
    mask_boxes,
    panoptic_document,
    panoptic_info,
    semantic_document,
)

NAMES = ("llama", "lava", "sky")
IDS = torch.tensor([[1, 1, 0, 2], [1, 3, 3, 2]], dtype=torch.int32)
PANOPTIC = Panoptic(
    map=IDS,
    segments=(
        Segment(id=1, label=0, is_thing=True, score=0.91234567, area=3),
        Segment(id=2, label=1, is_thing=False, score=0.8, area=2),
        Segment(id=3, label=0, is_thing=True, score=0.7, area=2),
    ),
)
INSTANCES = Instances(
    masks=torch.stack((IDS == 1, IDS > 0, IDS == 9)),
    scores=torch.tensor([0.9, 0.6, 0.0]),
    labels=torch.tensor([0, 2, 1]),
    queries=torch.tensor([4, 4, 1]),
)


def bitmap(region):
    return rle_to_bitmap(region.mask)


def test_an_answer_keeps_what_was_asked():
    click = Region(id="a", phrase="llama", points=(Point(xy=(0.1, 0.2)),))
    request = GroundedPrompt(
        prompt="a llama", regions=(click, Region(id="b")), relations=(("a", "above", "b"),)
    )
    answer = answered(request, torch.stack((IDS == 1, IDS == 9)), torch.tensor([0.5, 1.0000001]))
    assert answer.prompt == "a llama"
    assert answer.relations == request.relations
    assert answer.canvas.size == (4, 2)
    first, second = answer.regions
    assert (first.id, first.phrase, first.points, first.score) == ("a", "llama", click.points, 0.5)
    assert first.box == (0, 0, 0.5, 1)
    assert bitmap(first).tolist() == (IDS == 1).tolist()
    assert (second.box, second.score) == (None, 1.0)
    assert not bitmap(second).any()
    assert GroundedPrompt.model_validate(answer.to_dict()) == answer


def test_an_answer_without_scores_has_none():
    answer = answered(GroundedPrompt(regions=(Region(),)), (IDS == 1)[None])
    assert answer.regions[0].score is None


@pytest.mark.parametrize("scores", [None, torch.ones(1), torch.ones(3)])
def test_an_answer_needs_a_mask_for_each_region(scores):
    masks = torch.stack((IDS == 1, IDS == 2))
    request = GroundedPrompt(regions=(Region(),) * (1 if scores is None else 2))
    with pytest.raises(LavallamaError, match="need one mask and one score each; got 2"):
        answered(request, masks, scores)


@pytest.mark.parametrize("masks", [torch.zeros(1, 2, 2), torch.zeros(2, 2, dtype=torch.bool)])
def test_logits_are_not_bitmaps(masks):
    with pytest.raises(GeometryError, match="compare logits with 0"):
        answered(GroundedPrompt(), masks)


def test_instances_become_regions():
    document = instances_document(INSTANCES, NAMES, request=GroundedPrompt(prompt="find all"))
    assert document.prompt == "find all"
    assert [(r.id, r.phrase) for r in document.regions] == [("r1", "llama"), ("r2", "sky")]
    assert [r.score for r in document.regions] == pytest.approx([0.9, 0.6])
    assert [bitmap(r).tolist() for r in document.regions] == INSTANCES.masks[:2].tolist()
    assert document.regions[0].attributes == {"thing": True}
    assert len(instances_document(INSTANCES, NAMES, threshold=0.7).regions) == 1


def test_segments_become_regions():
    document = panoptic_document(PANOPTIC, NAMES)
    assert [r.phrase for r in document.regions] == ["llama", "lava", "llama"]
    assert [r.attributes["thing"] for r in document.regions] == [True, False, True]
    painted = sum((i + 1) * bitmap(r) for i, r in enumerate(document.regions))
    assert painted.tolist() == IDS.tolist()
    assert document.canvas.size == (4, 2)
    assert document.regions[1].box == (0.75, 0, 1, 1)


def test_classes_become_regions():
    document = semantic_document(torch.tensor([[0, 2], [2, 2]]), NAMES)
    assert [r.phrase for r in document.regions] == ["llama", "sky"]
    assert bitmap(document.regions[1]).tolist() == [[False, True], [True, True]]


def test_a_class_without_a_name_is_an_error():
    for write, found in (
        (instances_document, INSTANCES),
        (panoptic_document, PANOPTIC),
        (semantic_document, IDS),
    ):
        with pytest.raises(LavallamaError, match="1 names were given"):
            write(found, NAMES[:1])


def test_relations_do_not_outlive_their_regions():
    request = GroundedPrompt(
        regions=(Region(id="a"), Region(id="b")), relations=(("a", "above", "b"),)
    )
    assert panoptic_document(PANOPTIC, NAMES, request=request).relations == ()


def test_panoptic_info_is_that_of_transformers():
    info = panoptic_info(PANOPTIC)
    assert info["segmentation"] is IDS
    assert info["segments_info"] == [
        {"id": 1, "label_id": 0, "was_fused": False, "score": 0.912346},
        {"id": 2, "label_id": 1, "was_fused": True, "score": 0.8},
        {"id": 3, "label_id": 0, "was_fused": False, "score": 0.7},
    ]


def test_instances_info_is_that_of_transformers():
    info = instances_info(INSTANCES)
    assert torch.equal(info["segmentation"], INSTANCES.masks[:2])
    assert info["segments_info"] == [
        {"id": 0, "label_id": 0, "was_fused": False, "score": 0.9},
        {"id": 1, "label_id": 2, "was_fused": False, "score": 0.6},
    ]
    assert instances_info(INSTANCES, threshold=0.95)["segmentation"].shape == (0, 2, 4)


def test_boxes_are_tight_and_exclusive():
    generator = np.random.default_rng(1)
    masks = generator.random((40, 6, 9)) < generator.random((40, 1, 1)) * 0.2
    boxes = mask_boxes(torch.from_numpy(masks)).tolist()
    for mask, box in zip(masks, boxes, strict=True):
        ys, xs = mask.nonzero()
        tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [0] * 4
        assert box == tight
    assert any(box == [0] * 4 for box in boxes)
    assert mask_boxes(torch.zeros(0, 3, 3, dtype=torch.bool)).shape == (0, 4)


def test_a_request_that_speaks_of_lost_regions_is_refused():
    talk = {"role": "user", "content": [{"type": "region", "id": "a"}]}
    request = {"regions": [{"id": "a"}], "messages": [talk]}
    with pytest.raises(PromptError):
        panoptic_document(PANOPTIC, NAMES, request=GroundedPrompt.model_validate(request))
