"""What a document has of a request: missing, extra, wrong, misplaced."""

import pytest

from grounding.planning.agreement import agree, same_noun
from grounding.planning.caption import read_caption
from grounding.prompt import GroundedPrompt, Region

LEFT, MIDDLE, RIGHT = (0.0, 0.4, 0.2, 0.6), (0.4, 0.4, 0.6, 0.6), (0.8, 0.4, 1.0, 0.6)


def findings(caption: str, *regions: tuple, **options) -> list[tuple[str, tuple[str, ...]]]:
    document = GroundedPrompt(
        regions=tuple(
            Region(phrase=phrase, box=box, score=score[0] if score else None)
            for phrase, box, *score in regions
        )
    )
    found = agree(document, read_caption(caption), **options).findings
    return [(finding.kind, finding.ids) for finding in found]


def test_what_is_as_asked_has_no_findings() -> None:
    regions = [("lava llama", LEFT), ("dog", RIGHT)]
    assert findings("a lava llama left of a dog", *regions) == []
    assert findings("a dog right of a lava llama", *regions) == []
    assert findings("a dog and a lava llama, no cats", *regions) == []


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([("llama", LEFT)], [("missing", ()), ("wrong", ("r1",))]),
        ([("lava llama", RIGHT), ("dog", LEFT)], [("misplaced", ("r1", "r2"))]),
        ([("lava llama", LEFT), ("dog", RIGHT), ("dog", MIDDLE)], [("extra", ("r3",))]),
        ([("lava llama", LEFT), ("dog", RIGHT), ("cat", MIDDLE)], [("extra", ("r3",))]),
        ([("ice llama", LEFT), ("dogs", RIGHT)], [("wrong", ("r1",))]),
        ([], [("missing", ()), ("missing", ())]),
    ],
)
def test_findings_name_their_regions(regions, expected) -> None:
    assert findings("a lava llama left of a dog", *regions) == expected


def test_a_thing_that_must_be_absent() -> None:
    regions = [("llama", LEFT), ("tree", RIGHT)]
    assert findings("a llama without trees", *regions) == [("extra", ("r2",))]
    assert findings("a llama without trees", *regions, alone=False) == [("extra", ("r2",))]
    assert findings("a llama", *regions, alone=False) == []


def test_counts() -> None:
    dogs = [("dog", LEFT), ("dog", MIDDLE), ("dog", RIGHT)]
    assert findings("two dogs", *dogs) == [("extra", ("r3",))]
    assert findings("some dogs", *dogs) == []
    assert findings("four dogs", *dogs) == [("missing", ())]


def test_scores_choose_and_exclude() -> None:
    dogs = [("dog", LEFT, 0.2), ("dog", RIGHT, 0.9)]
    assert findings("a dog", *dogs) == [("extra", ("r1",))]
    assert findings("a dog", *dogs, threshold=0.5) == []


def test_every_one_of_several_is_left_of_every_other() -> None:
    right = [("llama", LEFT), ("llama", MIDDLE), ("dog", RIGHT)]
    assert findings("two llamas left of a dog", *right) == []
    wrong = [("llama", LEFT), ("llama", RIGHT), ("dog", MIDDLE)]
    assert findings("two llamas left of a dog", *wrong) == [("misplaced", ("r2", "r3"))]


def test_alike_things_are_told_apart_by_their_relations() -> None:
    regions = [("dog", RIGHT), ("dog", LEFT), ("cat", MIDDLE)]
    assert findings("a dog left of a cat and a dog", *regions) == []
    assert findings("a dog left of a dog", *regions[:2]) == []


def test_cats_on_two_chairs_sit_on_one_each() -> None:
    chairs = [("chair", (0.0, 0.5, 0.4, 0.9)), ("chair", (0.6, 0.5, 1.0, 0.9))]
    cats = [("cat", (0.1, 0.2, 0.3, 0.55)), ("cat", (0.7, 0.2, 0.9, 0.55))]
    assert findings("two cats on two chairs", *cats, *chairs) == []
    floating = [cats[0], ("cat", (0.7, 0.0, 0.9, 0.2))]
    assert findings("two cats on two chairs", *floating, *chairs) == [("misplaced", ("r2", "r3"))]


def test_attributes_of_a_region_count_as_well() -> None:
    region = Region(phrase="llama", box=LEFT, attributes={"material": "lava", "thing": True})
    graph = read_caption("a lava llama")
    assert agree(GroundedPrompt(regions=(region,)), graph).is_right


def test_the_number_of_a_noun_does_not_matter() -> None:
    assert same_noun("dogs", "dog")
    assert not same_noun("dog", "hot dog")
