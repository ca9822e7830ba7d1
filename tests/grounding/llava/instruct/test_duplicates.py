"""Texts that were there before are recognised, others are not."""

from random import Random

from grounding.llava.instruct.duplicates import Seen

WORDS = [f"word{number}" for number in range(400)]


def story(seed: int, length: int = 80) -> list[str]:
    return Random(seed).choices(WORDS, k=length)


def test_the_same_words_are_the_same():
    seen = Seen()
    assert seen.add("A llama, here!") is None
    assert seen.add("a LLAMA here") == "same"
    assert seen.add("a llama there") is None


def test_nearly_the_same_is_found_and_no_more():
    seen = Seen()
    for number in range(50):
        assert seen.add(" ".join(story(number))) is None
    found = 0
    for number in range(50):
        changed = story(number)
        changed[40] = "other"  # three of 78 runs
        found += seen.add(" ".join(changed)) == "nearly the same"
        half = story(number)[:40] + story(number + 100)[:40]
        assert seen.add(" ".join(half)) is None
    assert found == 50


def test_short_texts_are_compared_as_they_are():
    seen = Seen()
    assert seen.add("one two three four five six seven") is None
    assert seen.add("one two three four five six eight") is None
