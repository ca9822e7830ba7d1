"""Every kind of question has the predictor's answer, to the last bit."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from grounding.masks import bitmap_to_rle
from pipelines.serve import worker
from pipelines.serve.answers import panoptic_segments
from seem.postprocess import Panoptic, Segment
from seem.predictor import Predictor
from tests.pipelines.serve.asking import Api, bitmap_of, file_of, refusal, same
from tests.seem.predicting import HEIGHT, WIDTH, picture, ready

BITMAP = np.zeros((HEIGHT, WIDTH), bool)
BITMAP[10:30, 20:50] = True
RLE = bitmap_to_rle(BITMAP)
RUNS = bitmap_to_rle(BITMAP, compressed=False)
QUESTIONS = {
    "points": {"points": [[12.5, 20], [60, 3]], "labels": [1, 0]},
    "box": {"box": [10, 5, 40, 45]},
    "strokes": {"strokes": [[[5, 5], [30, 20]], [[60, 40]]], "stroke_labels": [1, 0]},
    "text": {"text": "lava llama"},
    "text and points": {"text": "lava llama", "points": [[30, 30]]},
    "three": {"points": [[30, 30]], "multimask": True},
}
MASKS = {
    "text": {"size": RLE.size, "counts": RLE.counts},
    "numbers": {"size": RUNS.size, "counts": RUNS.counts},
    "png": {"png": base64.b64encode(file_of(BITMAP)).decode()},
    "gray png": {"png": base64.b64encode(file_of(BITMAP.astype(np.uint8))).decode()},
    "16-bit png": {"png": base64.b64encode(file_of(BITMAP.astype(np.uint16))).decode()},
}


@pytest.fixture(scope="module")
def image(api: Api) -> str:
    return api.upload()


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return ready()


@pytest.mark.parametrize("name", QUESTIONS)
def test_segment(api: Api, image: str, predictor: Predictor, name: str) -> None:
    response = api.post(f"/v1/images/{image}/segment", QUESTIONS[name])
    assert response.status_code == 200, response.text
    said, expected = response.json(), predictor.predict(**QUESTIONS[name])
    assert (said["height"], said["width"]) == (HEIGHT, WIDTH)
    assert len(said["masks"]) == len(expected.masks)
    for mask, bitmap, score in zip(said["masks"], expected.masks, expected.scores, strict=True):
        assert same(mask, bitmap, score)
        assert mask["area"] == int(bitmap.sum())


@pytest.mark.parametrize("form", MASKS)
def test_masks_come_in_every_form(api: Api, image: str, predictor: Predictor, form: str) -> None:
    response = api.post(f"/v1/images/{image}/segment", {"mask": MASKS[form]})
    assert response.status_code == 200, response.text
    masks, scores, _ = predictor.predict(mask=BITMAP)
    assert same(response.json()["masks"][0], masks[0], scores[0])


def test_reference(api: Api, image: str, predictor: Predictor) -> None:
    other = api.upload(seed=5)
    question = {"reference": {"image_id": other, "points": [[10, 10]]}}
    response = api.post(f"/v1/images/{image}/segment", question)
    assert response.status_code == 200, response.text
    shown = predictor.exemplar(predictor.encode(picture(5)), points=[[10, 10]])
    masks, scores, _ = predictor.predict(reference=shown)
    assert same(response.json()["masks"][0], masks[0], scores[0])


def test_png_masks_are_the_same_masks(api: Api, image: str) -> None:
    path, question = f"/v1/images/{image}/segment", QUESTIONS["points"]
    [runs] = api.post(path, question).json()["masks"]
    [drawn] = api.post(f"{path}?masks=png", question).json()["masks"]
    assert "rle" not in drawn
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn["png"]))))
    assert np.array_equal(pixels, bitmap_of(runs))


def test_boxes_are_pixels_around_the_mask(api: Api, image: str) -> None:
    [mask] = api.post(f"/v1/images/{image}/segment", QUESTIONS["box"]).json()["masks"]
    x0, y0, x1, y1 = mask["box"]
    assert bitmap_of(mask)[y0:y1, x0:x1].sum() == mask["area"]


def test_a_batch_is_each_question_alone(api: Api, image: str) -> None:
    images = [image, api.upload(seed=1)]
    asked = [{"image_id": name, **question} for question in QUESTIONS.values() for name in images]
    together = api.post("/v1/batch", {"questions": asked}).json()["answers"]
    for question, answer in zip(asked, together, strict=True):
        alone = {key: value for key, value in question.items() if key != "image_id"}
        assert api.post(f"/v1/images/{question['image_id']}/segment", alone).json() == answer


def test_a_batch_names_the_question_that_is_wrong(api: Api, image: str) -> None:
    asked = [{"image_id": image, "text": "llama"}, {"image_id": image, "points": [[700, 1]]}]
    assert refusal(api.post("/v1/batch", {"questions": asked}), 422).startswith("questions[1]: ")


def test_find(api: Api, image: str, predictor: Predictor) -> None:
    texts = ["llama", "a volcano"]
    asked = {"texts": texts, "threshold": 0.1, "overlap": 0.9}
    said = api.post(f"/v1/images/{image}/find", asked).json()["found"]
    expected = predictor.find(texts, threshold=0.1, overlap=0.9)
    assert [found["text"] for found in said] == texts
    assert sum(len(found["masks"]) for found in said)
    for found, each in zip(said, expected, strict=True):
        pairs = zip(found["masks"], each.masks, each.scores, strict=True)
        assert all(same(*pair) for pair in pairs)


def test_instances(api: Api, image: str, predictor: Predictor) -> None:
    names = ["llama", "grass"]
    asked = {"classes": names, "things": ["llama"]}
    said = api.post(f"/v1/images/{image}/instances?threshold=0", asked).json()["segments"]
    expected = predictor.instances(names, things=["llama"])
    kept = [i for i, bitmap in enumerate(expected.masks) if bitmap.any()]
    assert len(said) == len(kept) > 0
    for segment, index in zip(said, kept, strict=True):
        assert segment["name"] == "llama"
        assert same(segment, expected.masks[index], expected.scores[index])


def test_semantic(api: Api, image: str, predictor: Predictor) -> None:
    names = ["llama", "grass", "sky"]
    said = api.post(f"/v1/images/{image}/semantic", {"classes": names}).json()["segments"]
    expected = predictor.semantic(names).numpy()
    assert [segment["name"] for segment in said] == [names[i] for i in np.unique(expected)]
    for segment in said:
        index = names.index(segment["name"])
        assert np.array_equal(bitmap_of(segment), expected == index)


def test_panoptic(api: Api, image: str, predictor: Predictor) -> None:
    names = ["llama", "grass"]
    said = api.post(f"/v1/images/{image}/panoptic", {"classes": names}).json()
    expected = panoptic_segments(predictor.panoptic(names), names, "rle")
    assert said == expected.model_dump(mode="json", exclude_none=True)


def test_panoptic_segments_are_parts_of_the_map() -> None:
    shares = torch.tensor([[1, 1, 2], [0, 2, 2]], dtype=torch.int32)
    parts = (
        Segment(id=1, label=1, is_thing=True, score=0.9, area=2),
        Segment(id=2, label=0, is_thing=False, score=0.8, area=3),
    )
    said = panoptic_segments(Panoptic(map=shares, segments=parts), ["grass", "llama"], "rle")
    assert [(s.name, s.thing, s.score, s.area) for s in said.segments] == [
        ("llama", True, 0.9, 2),
        ("grass", False, 0.8, 3),
    ]
    assert [s.box for s in said.segments] == [(0, 0, 2, 1), (1, 0, 3, 2)]


@pytest.mark.parametrize("task", ["panoptic", "instances", "semantic"])
def test_without_a_vocabulary_classes_must_be_named(api: Api, image: str, task: str) -> None:
    assert "name the classes" in refusal(api.post(f"/v1/images/{image}/{task}", {}), 422)


@pytest.mark.parametrize("task", ["panoptic", "instances", "semantic", "find"])
def test_what_needs_too_much_memory_is_not_begun(make_api, task: str) -> None:
    api = make_api(work_bytes=1000)
    asked = {"texts": ["llama"]} if task == "find" else {"classes": ["llama"]}
    response = api.post(f"/v1/images/{api.upload()}/{task}", asked)
    assert "MiB of memory" in refusal(response, 413)


class Leaving:
    """Stands for a client who leaves after the work has looked twice."""

    def __init__(self) -> None:
        self.looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return self.looks > 2


LONG = {
    "semantic": {"classes": ["llama", "grass"]},
    "instances?threshold=0": {"classes": ["llama", "grass"]},
    "panoptic": {"classes": ["llama", "grass"]},
    "find": {"texts": ["llama", "grass", "sky"]},
    "document": {"regions": [{"phrase": text} for text in ("llama", "grass", "sky")]},
    "overlay.png": {"regions": [{"box": [0, 0, 1, 1]}] * 3},
}


@pytest.mark.parametrize("task", LONG)
def test_long_work_ends_when_nobody_waits(api: Api, image: str, monkeypatch, task: str) -> None:
    guarded = worker._guarded
    monkeypatch.setattr(worker, "_guarded", lambda work, stop: guarded(work, Leaving()))
    assert "nobody waits" in refusal(api.post(f"/v1/images/{image}/{task}", LONG[task]), 504)


def test_an_overlay_comes_under_the_name_that_is_asked_for(api: Api, image: str) -> None:
    path, said = f"/v1/images/{image}/overlay.png", {}
    for kind in ("image/png", "application/octet-stream"):
        said[kind] = api.post(path, {}, headers={"Accept": kind})
        assert said[kind].headers["content-type"] == kind
    assert len({response.content for response in said.values()}) == 1


def test_pictures_are_turned_as_browsers_show_them(api: Api, predictor: Predictor) -> None:
    pixels = np.ascontiguousarray(np.rot90(picture(3)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    turned, plain = api.send(file.getvalue()).json(), api.send(file_of(picture(3))).json()
    assert (turned["width"], turned["height"]) == (WIDTH, HEIGHT)
    for task in ("segment", "overlay.png"):
        body = {"points": [[60, 10]]} if task == "segment" else {}
        said = [api.post(f"/v1/images/{it['image_id']}/{task}", body) for it in (turned, plain)]
        assert said[0].status_code == 200
        assert said[0].content == said[1].content
