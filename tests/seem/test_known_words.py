"""Which class a text means."""

import pytest

from grounding.errors import PromptError
from seem.coco_classes import COCO_CLASSES
from seem.known_words import SYNONYMS, KnownWords

KNOWN = KnownWords(COCO_CLASSES.things)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("person", "person"),
        ("People", "person"),
        ("women.", "person"),
        ("bikes", "bicycle"),
        ("the black dogs", "dog"),
        ("a hot dog", "hot dog"),
        ("hot dogs", "hot dog"),
        ("buses", "bus"),
        ("wine glasses", "wine glass"),
        ("knives", "knife"),
        ("puppies", "dog"),
        ("calves", "cow"),
        ("the man on the left", "person"),
        ("a dog on a sofa", "dog"),
        ("person riding a horse", "person"),
        ("bottle of wine", "bottle"),
        ("a slice of pizza", "pizza"),
        ("a photo of a cat", "cat"),
        ("a running horse", "horse"),
        ("two of the dogs", "dog"),
        ("dining table", "dining table"),
        ("parking meter", "parking meter"),
        ("a teddy", "teddy bear"),
        ("my  cell   phone", "cell phone"),
        ("skis", "skis"),
        ("mountain bike", "bicycle"),
    ],
)
def test_names_synonyms_plurals_and_what_stands_around_them(text: str, name: str) -> None:
    assert KNOWN.label(text) == COCO_CLASSES.things.index(name)


@pytest.mark.parametrize(
    "text", ["dog house", "lava llama", "s", "es", "of", "sky", "house with a dog"]
)
def test_what_is_unknown_is_none(text: str) -> None:
    assert KNOWN.find(text) is None


def test_the_error_names_what_is_known() -> None:
    with pytest.raises(PromptError, match="does not know 'dog house'; it knows: person, bicycle"):
        KNOWN.label("Dog house.")
    with pytest.raises(PromptError, match="at least one word"):
        KNOWN.label("  ")


def test_synonyms_are_no_names_and_mean_names() -> None:
    assert not set(SYNONYMS) & set(COCO_CLASSES.things)
    assert set(SYNONYMS.values()) <= set(COCO_CLASSES.things)
    few = KnownWords(["cat", "dog"])
    assert few.find("bike") is None
    assert few.find("kitten") == 0
