"""Somebody's own pictures as scenes: names, owners of pixels, shares, what is held out, samples."""

import io

import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from grounding.region import Region
from seem.train.annotated_scenes import AnnotatedPicture, AnnotatedScenes, share_out
from seem.train.batch import BatchMaker
from seem.train.hold_out import hold_out
from seem.train.mixture import Mixture, Part
from seem.train.thing_names import speak_names
from seem.train.verdict import make_sample


def square(low, high, **more):
    ring = ((low, low), (high, low), (high, high), (low, high))
    return Region(polygon=(ring,), **more)


def annotated(number, names=("robot",), size=(60, 40)):
    file = io.BytesIO()
    Image.new("RGB", size, (number, 90, 200)).save(file, "PNG")
    regions = tuple(square(0.1 + 0.4 * i, 0.45 + 0.4 * i) for i in range(len(names)))
    return AnnotatedPicture(
        name=f"{number}.png", digest=str(number), read=file.getvalue, regions=regions, names=names
    )


@pytest.mark.parametrize(
    ("written", "known", "said"),
    [
        (["Robot", "robot "], (), {"Robot": "robot", "robot ": "robot"}),
        (["robots", "robot"], (), {"robots": "robot", "robot": "robot"}),
        (["robots"], (), {"robots": "robots"}),
        (["llamas"], ("llama",), {"llamas": "llama"}),
        (["glasses"], ("glasses",), {"glasses": "glasses"}),
        (
            ["Traffic_Cone", "traffic cones"],
            (),
            dict.fromkeys(["Traffic_Cone", "traffic cones"], "traffic cone"),
        ),
        (
            ["tree-merged", "", "Background"],
            (),
            {"tree-merged": "tree", "": None, "Background": None},
        ),
    ],
)
def test_one_thing_has_one_name(written, known, said):
    assert speak_names(written, known) == said


def test_what_is_in_front_has_the_pixels_else_what_is_smaller():
    large, small = square(0, 1), square(0.25, 0.75)
    for regions, wanted in (((large, small), 2), ((small, large), 1)):
        assert share_out(regions, (8, 8))[4, 4] == wanted
    assert share_out((small, large.replace(z=1)), (8, 8))[4, 4] == 2


def test_pictures_of_any_size_become_squares_and_are_kept():
    scenes = AnnotatedScenes(pictures=[annotated(1), annotated(2, size=(200, 900))], size=32)
    for number in (0, 1):
        image, owners = scenes.read(number, np.random.default_rng(0))
        assert image.shape == (32, 32, 3)
        assert owners.shape == (32, 32)
    assert min(scenes.whole(1)[0].shape[:2]) == round(32 * 1.6)
    assert scenes.whole(0)[0] is scenes.whole(0)[0]
    assert scenes.lexicon.concepts == ("robot",)


def test_a_mixture_draws_by_shares():
    own = AnnotatedScenes(pictures=[annotated(i) for i in range(4)], size=32)
    old = AnnotatedScenes(pictures=[annotated(9, ("dog",))], size=64)
    parts = [
        Part(scenes=own, numbers=[0, 2], share=0.75),
        Part(scenes=old, numbers=[0], share=0.25),
    ]
    mixture = Mixture(parts, 32)
    assert mixture.weights.tolist() == [0.375, 0.375, 0.25]
    assert [mixture.name(i) for i in range(3)] == ["0.png", "2.png", "9.png"]
    assert mixture.lexicon.concepts == ("robot", "dog")
    assert mixture.read(2, np.random.default_rng(0))[0].shape == (32, 32, 3)
    maker = BatchMaker(mixture, 0.5, None, mixture.weights)
    drawn = maker.draw(64, 32, np.random.default_rng(0)).pictures
    dogs = sum("dog" in picture.record.concepts[:1] for picture in drawn)
    assert 6 <= dogs <= 28


def test_no_picture_is_learned_from_and_held_out():
    digests = ["d", "a", "c", "a", "b"]
    names = [{"robot"}] * 5
    learned, apart = hold_out(digests, names, 2)
    assert apart == [1, 3]  # one file under two names
    assert learned == [0, 2, 4]
    assert hold_out(digests[::-1], names, 2)[1] == [1, 3]
    assert hold_out(digests, names, 1)[1] == [4]
    assert hold_out(["a", "b"], [{"robot"}, {"alien"}], 1) == ([0, 1], [])
    assert hold_out(["a", "b", "c"], [{"robot"}, {"robot"}, {"alien"}], 2) == ([1, 2], [0])


def test_a_sample_asks_for_what_is_there_and_for_what_is_not():
    picture = annotated(0, ("robot", None))
    scenes = AnnotatedScenes(pictures=[picture], size=32)
    names = ("alien", "robot", "dog", "cat", "bus", "car")
    sample = make_sample("0", *scenes.whole(0), scenes.records[0], names, 1)
    assert [(search.text, search.targets) for search in sample.searches] == [
        ("robot", (0,)),
        *((name, ()) for name in ("car", "alien", "dog", "cat")),
    ]
    assert [truth.group for truth in sample.truths] == ["things", ""]


def test_a_picture_that_breaks_is_an_error_of_ours():
    picture = annotated(0)
    broken = AnnotatedScenes(
        pictures=[AnnotatedPicture(**{**vars(picture), "read": lambda: b"no"})], size=32
    )
    with pytest.raises(PromptError):
        broken.whole(0)
