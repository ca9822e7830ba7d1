"""Captions made by rule."""

import pytest

from grounding.region import Region
from pipelines.annotate.wording import caption_of

LEFT, RIGHT, LOW = (0.0, 0.1, 0.4, 0.5), (0.6, 0.1, 0.9, 0.4), (0.1, 0.7, 0.3, 0.9)


def of(*pairs) -> list[Region]:
    return [Region(phrase=phrase, box=box) for phrase, box in pairs]


@pytest.mark.parametrize(
    ("regions", "background", "caption"),
    [
        (of(("llama", LEFT)), "", "a llama"),
        (of(("ice fox", LEFT)), "on a beach", "an ice fox on a beach"),
        (of(("dog", RIGHT), ("llama", LEFT)), "", "a llama left of a dog"),
        (of(("dog", LOW), ("llama", LEFT)), "", "a llama above a dog"),
        (of(("fox", LEFT), ("fox", RIGHT)), "", "two foxes"),
        (of(("fox", LEFT), ("llama", RIGHT), ("cat", LOW)), "", "a fox, a llama and a cat"),
        (of(("gold dog", LEFT), ("cat", RIGHT), ("gold dog", LOW)), "", "two gold dogs and a cat"),
        (of(*[("dog", LEFT)] * 11), "", "11 dogs"),
        ([], "at night", "at night"),
    ],
)
def test_a_caption_says_what_is_there(regions, background, caption):
    assert caption_of(regions, background) == caption
