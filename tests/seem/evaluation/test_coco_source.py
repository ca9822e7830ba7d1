import json

import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from seem.evaluation.coco_source import instances_source, panoptic_source
from tests.seem.evaluation.folders import (
    HEIGHT,
    WIDTH,
    instances_file,
    panoptic_folder,
    picture,
)


@pytest.fixture
def panoptic(tmp_path):
    return panoptic_folder(tmp_path / "data") / "panoptic.json"


def rewritten(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_a_panoptic_folder(panoptic):
    source = panoptic_source(panoptic)
    assert source.classes == ("dog", "car", "tree-merged")
    assert source.things == {"dog", "car"}
    assert source.count == 2
    second, first = source.samples()  # by number
    assert (second.name, first.name) == ("005", "007")
    assert first.image.shape == (HEIGHT, WIDTH, 3)
    assert [truth.group for truth in first.truths] == ["things", "things", "stuff", ""]
    assert [truth.label for truth in first.truths] == [0, 0, 2, 1]
    assert first.truths[1].mask[:, 20:40].all()
    assert first.truths[1].mask.sum() == 20 * HEIGHT
    assert [truth.crowd for truth in second.truths] == [False, True]
    assert source.left_out == {"segments smaller than 0.5% of their image": 1, "crowds": 1}


def test_the_map_leaves_void_where_nothing_is(panoptic):
    _, first = panoptic_source(panoptic).samples()
    ids, segments = first.map()
    assert (ids == 0).sum() == 20 * 20 - 1
    assert [segment.label for segment in segments] == [0, 0, 2, 1]


def test_class_names_are_said_without_bookkeeping(panoptic):
    second, first = panoptic_source(panoptic).samples()
    said = {phrase.text: phrase.targets for phrase in first.phrases}
    assert said == {"dog": (0, 1), "car": (3,), "tree": (2,)}
    assert {search.text: search.targets for search in first.searches} == {
        "dog": (0, 1),
        "car": (3,),
    }
    assert not second.searches  # its cars are a crowd


def test_some_classes_leave_the_others_void(panoptic):
    source = panoptic_source(panoptic).with_classes(["tree-merged", "dog"])
    assert source.things == {"dog"}
    _, first = source.samples()
    assert [truth.label for truth in first.truths] == [1, 1, 0, None]
    assert [segment.label for segment in first.map()[1]] == [1, 1, 0]
    with pytest.raises(PromptError, match="got owl"):
        source.with_classes(["owl"])


def test_limits_take_the_first_images(panoptic):
    source = panoptic_source(panoptic, limit=1)
    assert source.count == 1
    assert [sample.name for sample in source.samples()] == ["005"]


def test_instances(tmp_path):
    source = instances_source(instances_file(tmp_path))
    [sample] = source.samples()
    dog, car = sample.truths
    assert dog.mask[12, 12]
    assert dog.mask[12, 32]
    assert not dog.mask[12, 25]
    assert car.mask[:, :5].all()
    assert car.mask.sum() == 5 * HEIGHT
    assert not sample.complete
    assert source.left_out == {"segments without a pixel": 1}


def test_the_official_layout_is_known(tmp_path):
    (tmp_path / "annotations").mkdir()
    file = instances_file(tmp_path / "annotations", "instances_val2017.json")
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations" / "a.png").rename(tmp_path / "val2017" / "a.png")
    [sample] = instances_source(file).samples()
    assert sample.image.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("categories"), "categories: is missing"),
        (lambda d: d.update(categories=[]), "categories: expected at least one"),
        (lambda d: d.update(annotations=[]), "expected annotated images; got none"),
        (lambda d: [a.update(image_id=99) for a in d["annotations"]], "image_id: 99"),
        (lambda d: [a.update(segments_info=[]) for a in d["annotations"]], "are empty"),
        (lambda d: d["images"].append({"id": "7", "file_name": "8.jpg"}), "7 appears twice"),
        (lambda d: d["categories"].append({"id": 1, "name": "dog"}), "names that differ"),
        (lambda d: d.update(annotations=[{"bbox": [1, 2, 3, 4]}]), "is COCO instances, expected"),
    ],
)
def test_files_that_make_no_sense_are_one_line(panoptic, change, said):
    with pytest.raises(PromptError, match=said) as error:
        list(panoptic_source(rewritten(panoptic, change)).samples())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"category_id": 1}, "no category has the id 1"),
        ({"id": 0}, "0, which is the background|above 0"),
        ({"id": None}, "expected an id"),
    ],
)
def test_a_segment_that_makes_no_sense_costs_itself(panoptic, change, said):
    source = panoptic_source(
        rewritten(panoptic, lambda d: d["annotations"][0]["segments_info"][0].update(change))
    )
    assert [len(sample.truths) for sample in source.samples()] == [2, 3]
    assert sum(source.drops.lost_regions.values()) == 1
    with pytest.raises(PromptError, match=said):
        source.drops.refuse(panoptic)


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ([[1, 2, 3, 4]], "3 points or more"),
        ([[1, 2, 3, 4, 5, float("inf")]], "expected a number"),
        ([[1, 2, 3, 4, 5, 1e12]], "expected pixels"),
        ("text", "expected a list"),
        ({"size": [3, 3], "counts": [9]}, f"3x3 pixels do not fit the picture of {WIDTH}x{HEIGHT}"),
        ({"size": [HEIGHT, WIDTH], "counts": [5]}, "run"),
        ({"size": [HEIGHT, WIDTH], "counts": "!"}, "not COCO's RLE"),
        ({"counts": [5]}, "size: is missing"),
    ],
)
def test_an_object_whose_segmentation_makes_no_sense_costs_itself(tmp_path, segmentation, said):
    path = rewritten(
        instances_file(tmp_path), lambda d: d["annotations"][0].update(segmentation=segmentation)
    )
    source = instances_source(path)
    [sample] = source.samples()
    assert [truth.label for truth in sample.truths] == [1]
    with pytest.raises(PromptError, match=said) as error:
        source.drops.refuse(path)
    assert "annotations[0].segmentation" in str(error.value)


def test_a_ring_that_makes_no_sense_costs_itself(tmp_path):
    """jsbroks/coco-annotator#526 leaves rings of a single point."""
    path = instances_file(tmp_path)
    whole = next(instances_source(path).samples()).truths[0].mask
    source = instances_source(
        rewritten(path, lambda d: d["annotations"][0]["segmentation"].append([48, 30]))
    )
    [sample] = source.samples()
    assert np.array_equal(sample.truths[0].mask, whole)
    assert source.drops.changed_regions == {"a part of an outline left out": 1}


def test_pictures_of_another_size_are_measured_where_their_annotations_lie(tmp_path):
    """The JSON says twice the size of the picture: polygons and run lengths are scaled."""
    path = instances_file(tmp_path)
    big = Image.fromarray(picture()).resize((WIDTH * 2, HEIGHT * 2))

    def told(data):
        data["images"][0].update(width=WIDTH, height=HEIGHT)

    [small] = instances_source(rewritten(path, told)).samples()
    big.save(tmp_path / "a.png")
    [large] = instances_source(path).samples()
    for one, other in zip(small.truths, large.truths, strict=True):
        doubled = one.mask.repeat(2, 0).repeat(2, 1)
        assert (doubled & other.mask).sum() / (doubled | other.mask).sum() > 0.9
    big.resize((HEIGHT, WIDTH)).save(tmp_path / "a.png")
    source = instances_source(path)
    assert list(source.samples()) == []
    [reason] = source.drops.lost_pictures
    assert reason == "a picture of another shape than its annotations"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"segmentation": [], "bbox": [1, 2, 3, 4]}, "all 3 annotations have boxes alone"),
        ({"segmentation": None}, "boxes alone"),
        ({"iscrowd": 1}, "all 2 annotations with an outline are crowds"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(tmp_path, change, said):
    path = instances_file(tmp_path)
    with pytest.raises(PromptError, match=said):
        instances_source(rewritten(path, lambda d: [a.update(change) for a in d["annotations"]]))


def test_roboflows_root_category_is_none(tmp_path):
    """roboflow/rf-detr#1303: a category that nothing uses, above all others."""

    def root(data):
        for category in data["categories"]:
            category["supercategory"] = "dog"
        data["categories"].insert(0, {"id": 0, "name": "dog", "supercategory": "none"})

    assert instances_source(rewritten(instances_file(tmp_path), root)).classes == (
        "dog", "car", "tree-merged",
    )  # fmt: skip


def test_ids_may_be_texts(tmp_path):
    def texts(data):
        data["images"][0]["id"] = "1"
        for annotation in data["annotations"]:
            annotation["category_id"] = str(annotation["category_id"])

    [sample] = instances_source(rewritten(instances_file(tmp_path), texts)).samples()
    assert len(sample.truths) == 2


def test_a_missing_folder_of_maps_is_named(panoptic):
    (panoptic.parent / "panoptic").rename(panoptic.parent / "maps")
    with pytest.raises(PromptError, match="PNGs in the folder"):
        panoptic_source(panoptic)


def test_a_map_of_another_size_is_dropped_and_named(panoptic):
    from seem.coco import panoptic_png

    file = panoptic.parent / "panoptic" / "005.png"
    file.write_bytes(panoptic_png(np.full((HEIGHT // 2, WIDTH // 2), 9, np.int32)))
    second, _ = panoptic_source(panoptic).samples()
    assert second.truths[0].mask.all()  # of the same shape
    for broken in (panoptic_png(np.ones((3, 3), np.int32)), b"no picture", b""):
        file.write_bytes(broken)
        _lost(panoptic_source(panoptic), "005.png")


def _lost(source, said):
    """Check that one of two images is measured, and that the other is named."""
    assert [sample.name for sample in source.samples()] == ["007"]
    assert sum(source.drops.lost_pictures.values()) == 1
    with pytest.raises(PromptError, match=said):
        source.drops.refuse("data")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["annotations"][1].update(segments_info=3), "segments_info: expected a list"),
        (lambda d: d["annotations"][1].update(file_name="none.png"), "none.png"),
        (lambda d: d["annotations"][1].update(file_name="images"), "images"),
        (lambda d: d["annotations"][1].pop("file_name"), "file_name: is missing"),
        (lambda d: d["images"][1].pop("file_name"), "image without a file name"),
    ],
)
def test_an_image_whose_map_cannot_be_read_costs_itself(panoptic, change, said):
    _lost(panoptic_source(rewritten(panoptic, change)), said)


def test_maps_are_found_as_other_systems_name_them(panoptic):
    def renamed(data):
        for entry in data["annotations"]:
            entry["file_name"] = ".\\" + entry["file_name"].upper()

    assert len(list(panoptic_source(rewritten(panoptic, renamed)).samples())) == 2


@pytest.mark.parametrize("broken", [None, b"", b"text"])
def test_a_picture_that_cannot_be_read_is_dropped_and_named(panoptic, broken):
    whole = len(list(panoptic_source(panoptic).samples()))
    path = rewritten(panoptic, lambda d: d["images"][0].update(file_name="none.jpg"))
    if broken is not None:
        (path.parent / "none.jpg").write_bytes(broken)
    source = panoptic_source(path)
    assert len(list(source.samples())) == whole - 1
    [(reason, [named])] = source.drops.named.items()
    assert reason in ("no such file", "a picture that cannot be read")
    assert named.startswith("none.jpg: ")
