"""The photographs of tests/data/photographs: what they are, whose they are, that nothing moved."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seem.coco import read_panoptic_png
from seem.evaluation.coco_source import MIN_AREA, panoptic_source

FOLDER = Path(__file__).parent / "data" / "photographs"
FREE = {"CC0 1.0", "public domain"}
LONGEST, LARGEST = 640, 2_500_000  # pixels of a side, bytes of all files
DIGEST = "27377c1feb7d95aacd1a23085e716674955326f9938f30468fe105f98df960dd"


@pytest.fixture(scope="module")
def document():
    return json.loads((FOLDER / "panoptic.json").read_text())


def test_no_file_has_changed():
    digest = hashlib.sha256()
    for path in sorted(path for path in FOLDER.rglob("*.*") if path.suffix != ".md"):
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    assert digest.hexdigest() == DIGEST  # results of before are no longer comparable


def test_files_are_those_of_the_document_and_small(document):
    images = {image["file_name"] for image in document["images"]}
    maps = {annotation["file_name"] for annotation in document["annotations"]}
    assert {path.name for path in (FOLDER / "images").iterdir()} == images
    assert {path.name for path in (FOLDER / "panoptic").iterdir()} == maps
    assert len(images) == len(maps) >= 20
    for image in document["images"]:
        with Image.open(FOLDER / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
            assert max(picture.size) <= LONGEST
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.*")) <= LARGEST


def test_each_photograph_is_free_and_says_whose_it_is(document):
    licences = {licence["id"]: licence["name"] for licence in document["licenses"]}
    readme = (FOLDER / "README.md").read_text().splitlines()
    for image in document["images"]:
        (row,) = [line for line in readme if line.startswith(f"| `{image['file_name']}` |")]
        licence = licences[image["license"]]
        assert licence in FREE
        for fact in ("author", "source", "package", "original", "original_sha256"):
            assert image[fact] in row, (image["file_name"], fact)
        assert f"| {licence} |" in row


def test_none_is_of_a_package_that_models_learn_from(document):
    learned = (Path(__file__).parents[1] / "docs" / "photographs-art.md").read_text()
    for image in document["images"]:
        assert image["package"].split()[0] not in learned


def test_segments_are_read_whole_and_none_is_small(document):
    source = panoptic_source(FOLDER / "panoptic.json")
    samples = list(source.samples())
    assert len(samples) == len(document["images"])
    assert not source.left_out
    assert not source.drops.lost_pictures
    assert not source.drops.lost_regions
    for sample in samples:
        assert sample.truths, sample.name
        covered = np.zeros(sample.image.shape[:2], int)
        for truth in sample.truths:
            assert truth.mask.mean() >= MIN_AREA, sample.name
            assert truth.group in ("things", "stuff")
            covered += truth.mask
        assert covered.max() == 1, sample.name
    assert sum(len(sample.truths) for sample in samples) >= 100


def test_areas_and_boxes_are_those_of_the_maps(document):
    for annotation in document["annotations"]:
        path = FOLDER / "panoptic" / annotation["file_name"]
        ids = read_panoptic_png(path.read_bytes(), path)
        segments = annotation["segments_info"]
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in segments}
        for segment in segments:
            rows, columns = np.nonzero(ids == segment["id"])
            left, top = columns.min(), rows.min()
            width, height = columns.max() + 1 - left, rows.max() + 1 - top
            assert segment["area"] == rows.size
            assert segment["bbox"] == [left, top, width, height]
