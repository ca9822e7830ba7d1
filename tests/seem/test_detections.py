import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from grounding.errors import LavallamaError
from seem.detections import to_detectron2, to_detectron2_panoptic, to_supervision
from seem.results import mask_boxes
from tests.seem.test_results import IDS, INSTANCES, NAMES, PANOPTIC


def stand_in(monkeypatch, name, **classes):
    """Put a module with these classes where an import finds it."""
    for depth in range(1, name.count(".") + 2):
        part = ".".join(name.split(".")[:depth])
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    for key, value in classes.items():
        setattr(sys.modules[name], key, value)


def check_detections(detections):
    assert np.array_equal(detections.xyxy, mask_boxes(INSTANCES.masks).numpy())
    assert np.array_equal(detections.mask, INSTANCES.masks.numpy())
    assert detections.confidence == pytest.approx([0.9, 0.6, 0.0])
    assert detections.class_id.tolist() == [0, 2, 1]
    assert detections.data["class_name"].tolist() == ["llama", "sky", "lava"]


def test_supervision_gets_all_fields(monkeypatch):
    stand_in(monkeypatch, "supervision", Detections=SimpleNamespace)
    check_detections(to_supervision(INSTANCES, NAMES))


def test_the_real_supervision_takes_them():
    pytest.importorskip("supervision")
    check_detections(to_supervision(INSTANCES, NAMES))


def test_a_class_without_a_name_is_an_error(monkeypatch):
    stand_in(monkeypatch, "supervision", Detections=SimpleNamespace)
    with pytest.raises(LavallamaError, match="class 2 was found, 1 names"):
        to_supervision(INSTANCES, NAMES[:1])


def test_detectron2_gets_all_fields(monkeypatch):
    stand_in(
        monkeypatch,
        "detectron2.structures",
        Instances=lambda size, **fields: SimpleNamespace(image_size=size, **fields),
        Boxes=lambda tensor: SimpleNamespace(tensor=tensor),
    )
    found = to_detectron2(INSTANCES)
    assert found.image_size == (2, 4)
    assert found.pred_masks is INSTANCES.masks
    assert found.pred_boxes.tensor.tolist()[0] == [0, 0, 2, 2]
    assert found.scores is INSTANCES.scores
    assert found.pred_classes is INSTANCES.labels


def test_detectron2s_pair_needs_no_detectron2():
    ids, info = to_detectron2_panoptic(PANOPTIC)
    assert ids is IDS
    assert info[1] == {"id": 2, "isthing": False, "category_id": 1}
    assert len(info) == 3


@pytest.mark.parametrize(
    ("convert", "library"),
    [(lambda found: to_supervision(found, NAMES), "supervision"), (to_detectron2, "detectron2")],
)
def test_a_missing_library_is_named(monkeypatch, convert, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(LavallamaError, match=f"needs {library}, which is not installed"):
        convert(INSTANCES)
