"""The embedded SEEM annotates scenes whose truth is known."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from grounding.geometry import box_iou
from grounding.prompt import GroundedPrompt
from grounding.stickers.scene import Scene, Sticker, render
from pipelines.annotate.annotator import Annotator, open_annotator
from pipelines.annotate.raw import Raw
from pipelines.annotate.record import things_in
from pipelines.annotate.settings import Names, Settings


def sticker(concept: str, material: str | None, box) -> Sticker:
    return Sticker(concept=concept, material=material, style="flat", box=box)


SCENE = Scene(
    background="pink",
    stickers=(
        sticker("castle", None, (0.0625, 0.0234375, 0.6484375, 0.5234375)),
        sticker("bus", "gold", (0.4453125, 0.5859375, 0.9609375, 0.9375)),
    ),
    caption="",
    size=(128, 128),
    seed=5,
)


class Scripted:
    """Says what it is told to, and keeps what it was asked."""

    def __init__(self, answer: str) -> None:
        self.text, self.asked = answer, []

    def answer(self, conversation, decoding=None) -> str:
        self.asked.append(conversation)
        return self.text

    def stream(self, conversation, decoding=None):
        yield self.answer(conversation)


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return open_annotator(Settings(device="cpu"))


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "scene.png"
    Image.fromarray(render(SCENE).image).save(path)
    return path


def annotated(annotator: Annotator, picture: Path, *captions: str) -> GroundedPrompt:
    found = annotator(Raw(name="scene.png", path=picture, captions=captions))
    return GroundedPrompt.model_validate(found["document"])


def test_things_are_found_named_and_told(annotator, picture):
    document = annotated(annotator, picture)
    things = {region.phrase: region for region in things_in(document)}
    assert set(things) == {"castle", "gold bus"}
    for one in SCENE.stickers:
        region = things[one.phrase]
        assert box_iou(region.box, one.box) > 0.8
        assert region.attributes["name"] == one.concept
        assert region.attributes["agreement"] >= 0.5
    assert document.prompt == "a castle above a gold bus on a pink background"
    assert document.background == "on a pink background"
    assert document.provenance.settings["caption"] == "made by rule"
    assert annotated(annotator, picture) == document


def test_phrases_of_captions_are_found(annotator, picture):
    document = annotated(annotator, picture, "a castle by the sea", "one gold bus")
    things = {region.phrase: region for region in things_in(document)}
    assert document.prompt == "a castle by the sea"
    assert document.provenance.settings == {"caption": "given", "caption 2": "one gold bus"}
    assert set(things) == {"castle", "gold bus"}
    for one in SCENE.stickers:
        assert things[one.phrase].attributes["said"]
        assert things[one.phrase].attributes["name"] == one.concept
        assert box_iou(things[one.phrase].box, one.box) > 0.8


def test_a_chat_model_writes_captions(annotator, picture):
    speaker = Scripted("A golden llama\nand an apple <image> on a beach.")
    asking = Annotator(annotator.eyes_for, Settings(model="chat"), speaker=speaker)
    document = annotated(asking, picture)
    assert document.prompt == "A golden llama and an apple on a beach."
    assert document.provenance.settings["caption"] == "chat"
    [conversation] = speaker.asked
    assert len(conversation.pictures) == 1
    given = annotated(asking, picture, "a llama")
    assert given.provenance.settings["caption"] == "given"
    assert len(speaker.asked) == 1


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min_score": 0.999}, "a score under 0.999"),
        ({"min_area": 0.9}, "a box under 90.00% of the picture"),
        ({"agreement": 1.0}, "its box shows another mask"),
    ],
)
def test_what_is_not_kept_is_told(annotator, picture, limits, reason):
    settings = Settings(**limits)
    strict = Annotator(annotator.eyes_for, settings)
    found = strict(Raw(name="scene.png", path=picture, captions=("a gold bus",)))
    assert found["dropped"][0] == "nothing was found"
    if "min_score" not in limits:
        assert reason in found["dropped"][1]


def test_no_more_than_the_most_certain(annotator, picture):
    few = Annotator(annotator.eyes_for, Settings(max_regions=1))
    found = few(Raw(name="scene.png", path=picture))
    document = GroundedPrompt.model_validate(found["document"])
    assert len(things_in(document)) == 1
    assert found["lost"][-1][0] == "beyond the 1 most certain"


def test_a_vocabulary_says_what_is_looked_for(annotator, picture):
    names = Names(things=("castle", "dog"))
    few = Annotator(lambda seen: replace(annotator.eyes_for(seen), names=names), Settings())
    document = annotated(few, picture)
    assert "castle" in [region.phrase for region in document.regions]
    assert all(region.phrase in names.things for region in document.regions)
    assert document.background == ""


def test_a_picture_that_cannot_be_read_is_dropped(annotator, picture):
    file = io.BytesIO(picture.read_bytes())
    picture.write_bytes(file.getvalue()[:200])
    found = annotator(Raw(name="scene.png", path=picture))
    assert found["dropped"][0] == "a picture that cannot be read"
    picture.unlink()
    found = annotator(Raw(name="scene.png", path=picture))
    assert found["dropped"] == ["a picture that cannot be read", "no such file or directory"]
