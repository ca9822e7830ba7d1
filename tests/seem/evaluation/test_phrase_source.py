import json

import pytest

from grounding.errors import PromptError
from seem.evaluation.phrase_source import phrase_source, refcoco_source
from tests.seem.evaluation.folders import instances_file, rectangle


@pytest.fixture
def folder(tmp_path):
    instances_file(tmp_path)
    return tmp_path


def phrases_file(folder, **changes):
    annotation = {
        "image_id": 1,
        "segmentation": [rectangle(10, 10, 20, 30)],
        "phrases": ["the dog", "left one"],
    }
    data = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [annotation | changes]}
    path = folder / "phrases.json"
    path.write_text(json.dumps(data))
    return path


def refs_file(folder, **changes):
    reference = {"ann_id": 1, "image_id": 1, "split": "val", "sentences": [{"sent": "the dog"}]}
    others = {"ann_id": 2, "split": "test", "sentences": [{"sent": "the car"}]}
    path = folder / "refs(unc).json"
    path.write_text(json.dumps([reference | changes, others]))
    return path


def test_our_own_form(folder):
    source = phrase_source(phrases_file(folder))
    [sample] = source.samples()
    assert [(phrase.text, phrase.targets) for phrase in sample.phrases] == [
        ("the dog", (0,)),
        ("left one", (0,)),
    ]
    assert sample.truths[0].mask[20, 15]
    assert "panoptic" not in source.tasks
    assert source.usual == ("phrase",)


def test_refcoco_takes_the_split(folder):
    [sample] = refcoco_source(refs_file(folder)).samples()
    assert [phrase.text for phrase in sample.phrases] == ["the dog"]
    [sample] = refcoco_source(refs_file(folder), split="test").samples()
    assert [phrase.text for phrase in sample.phrases] == ["the car"]
    assert sample.truths[0].mask[:, :5].all()


def test_objects_without_a_pixel_are_counted(folder):
    source = phrase_source(phrases_file(folder, segmentation=[]))
    [sample] = source.samples()
    assert not sample.phrases
    assert source.left_out == {"objects without a pixel": 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phrases": [" "]}, r"annotations\[0\].phrases\[0\]: expected words"),
        ({"phrases": "the dog"}, "expected a list"),
        ({"image_id": 4}, "there is no image 4"),
    ],
)
def test_phrases_that_make_no_sense_are_one_line(folder, changes, said):
    with pytest.raises(PromptError, match=said):
        list(phrase_source(phrases_file(folder, **changes)).samples())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ann_id": 77}, "has no annotation 77"),
        ({"sentences": [{"text": "the dog"}]}, "sent: is missing"),
        ({"split": "train"}, "of the split 'val'; got none"),
    ],
)
def test_references_that_make_no_sense_are_one_line(folder, changes, said):
    with pytest.raises(PromptError, match=said):
        refcoco_source(refs_file(folder, **changes))


def test_references_need_their_instances(folder):
    path = refs_file(folder)
    (folder / "instances.json").unlink()
    with pytest.raises(PromptError, match=r"instances.json: no such file"):
        refcoco_source(path)
