"""The second eye: what regions are, by what is in their boxes; and what becomes of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from grounding.errors import PromptError
from grounding.planning.scene_graph import Thing
from pipelines.annotate.annotator import open_annotator
from pipelines.annotate.filters import sift
from pipelines.annotate.finder import Candidate
from pipelines.annotate.recogniser import Recogniser, open_recogniser
from pipelines.annotate.settings import Names, Settings
from pipelines.retrieval import embedders
from pipelines.retrieval.classifier import Classifier

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
NAMES = Names(things=("red", "green"), attributes=("dark",))


class Eye:
    """Sees colours, and reads their names; "dark" halves them."""

    name, fingerprint, modalities, scale = "eye", "eye", frozenset({"text", "image"}), 8.0

    def embed(self, items):
        vectors = torch.stack([self.vector(one) for one in items])
        return torch.nn.functional.normalize(vectors, dim=-1)

    def vector(self, item) -> torch.Tensor:
        if isinstance(item, Image.Image):
            middle = [channel // 2 for channel in item.size]
            return torch.tensor([*item.getpixel(middle), 64.0])
        if len(item) > 20:
            raise PromptError("too long")
        *dark, colour = item.split(" ")
        part = torch.tensor([*COLOURS[colour], 0.0]) / (2 if dark else 1)
        return part + torch.tensor([0, 0, 0, 64.0])


class Agreeing:
    """A segmenter that finds in a box the mask that fills it."""

    def ask(self, questions):
        marks = questions[0].marks
        return [type("Answer", (), {"masks": torch.as_tensor(np.asarray(marks.positive))[None]})()]


def candidate(left: int, *, score: float = 0.9, said: bool = False, name: str = "?") -> Candidate:
    mask = np.zeros((40, 80), bool)
    mask[10:30, left : left + 20] = True
    return Candidate(phrase=name, name=name, mask=mask, score=score, said=said)


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[10:30, 5:25], pixels[10:30, 45:65] = (255, 0, 0), (0, 100, 0)
    return Image.fromarray(pixels)


@pytest.fixture
def recogniser() -> Recogniser:
    return Recogniser(classifier=Classifier(embedder=Eye()), names=NAMES)


def test_regions_are_what_is_in_their_boxes(recogniser, picture):
    red, green = recogniser(picture, [candidate(5), candidate(45, score=0.2)], [])
    assert (red.phrase, red.name, red.said) == ("red", "red", False)
    assert (green.phrase, green.name) == ("dark green", "green")
    assert 0.25 < red.score < 0.9, "its probability"
    assert green.score == 0.2, "the segmenter's, which is less"
    assert recogniser(picture, [], []) == []
    empty = replace(candidate(5), mask=np.zeros((40, 80), bool))
    assert recogniser(picture, [empty], []) == []


def test_what_captions_speak_of_is_likelier(recogniser, picture):
    dark_red = Thing(noun="red", attributes=(("light", "dark"),))
    [one] = recogniser(picture, [candidate(5)], [dark_red])
    assert (one.phrase, one.name, one.said) == ("dark red", "red", True)
    [other] = recogniser(picture, [candidate(45)], [Thing(noun="blue")])
    assert (other.phrase, other.said) == ("dark green", False), "likelier, not certain"
    [unread] = recogniser(picture, [candidate(5)], [Thing(noun="red, and more than it can read")])
    assert unread.phrase == "red"


def test_the_vocabularys_name_stays_where_the_captions_is_another(recogniser, picture):
    crimson = replace(NAMES, things=("green",))
    eye = replace(recogniser, names=crimson)
    [by_name] = eye(picture, [candidate(5, name="green")], [Thing(noun="red")])
    assert (by_name.phrase, by_name.name, by_name.said) == ("red", "green", True)
    [by_phrase] = eye(picture, [candidate(5, name="blue", said=True)], [Thing(noun="red")])
    assert by_phrase.name == "red"


def test_no_more_than_captions_say():
    twice = [candidate(5, said=True, name="red"), candidate(45, said=True, name="red", score=0.8)]
    settings = Settings(agreement=0.0)
    kept, lost = sift(twice, Agreeing(), settings, NAMES, [Thing(noun="red")])
    assert [one.found.score for one in kept] == [0.9]
    assert lost == [("more than captions say", "red")]
    for things in ([Thing(noun="red", count=2)], [Thing(noun="red", exact=False)], []):
        kept, lost = sift(twice, Agreeing(), settings, NAMES, things)
        assert len(kept) == 2
        assert not lost


@pytest.mark.parametrize(("said", "name"), [("puppy", "green"), ("red", "red")])
def test_of_a_thing_found_twice_the_name_is_of_the_vocabulary(said, name):
    twice = [candidate(5, name="green", score=0.99), candidate(6, said=True, name=said)]
    [kept], [lost] = sift(twice, Agreeing(), Settings(agreement=0.0), NAMES)
    assert (kept.found.phrase, kept.found.name) == (said, name)
    assert lost[0] == "the same as another region"


def test_who_recognises(monkeypatch):
    opened = []

    def open_embedder(model, **where):
        opened.append(model)
        return Eye()

    monkeypatch.setattr(embedders, "open_embedder", open_embedder)
    assert open_recogniser(Settings(segmenter="seem-focalt"), NAMES) is None
    assert open_recogniser(Settings(segmenter="photographs"), NAMES) is None
    assert open_recogniser(Settings(segmenter="stickers", embedder="none"), NAMES) is None
    assert not opened
    plain = open_recogniser(Settings(segmenter="stickers"), NAMES)
    photos = open_recogniser(Settings(segmenter="seem-focalt", embedder="a/clip"), NAMES)
    assert opened == ["embedded", "a/clip"]
    assert plain.classifier.templates == ("{}",)
    assert "a photo of the {}." in photos.classifier.templates
    monkeypatch.setattr(Eye, "modalities", frozenset({"text", "audio"}))
    with pytest.raises(PromptError, match="eye reads audio, text, not image: .* --embedder"):
        open_recogniser(Settings(embedder="a/clap"), NAMES)


def test_stickers_have_one_and_photographs_have_none():
    flat = Image.new("RGB", (64, 64), "white")
    grain = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    annotator = open_annotator(Settings(device="cpu"))
    assert annotator.eyes_for(flat).recogniser is not None
    assert "llama" in annotator.eyes_for(flat).names.things
    assert annotator.eyes_for(grain).recogniser is None
    assert "zebra" in annotator.eyes_for(grain).names.things
    assert open_annotator(Settings(device="cpu", embedder="none")).eyes_for(flat).recogniser is None
