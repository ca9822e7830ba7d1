"""Numbers, attributes, places and absence, told right and wrong."""

import pytest

from gligen.evaluation.claims import SIDES, Absent, Bound, Counted, Placed
from gligen.evaluation.layout import Instance
from grounding.stickers.captions import direction
from tests.gligen.evaluation.oracle import Oracle, Sight

LEFT, RIGHT, TOP = (0.0, 0.5, 0.3, 0.9), (0.6, 0.5, 0.9, 0.9), (0.3, 0.0, 0.6, 0.3)


def holds(claim, *things):
    return claim.holds(Sight(things), Oracle())


def thing(noun, box, attribute=None):
    return Instance(noun=noun, box=box, attribute=attribute)


def test_numbers_are_exact():
    claim = Counted(noun="dog", number=2)
    dogs = [thing("dog", LEFT), thing("dog", RIGHT), thing("dog", TOP)]
    assert [holds(claim, *dogs[:count]) for count in range(4)] == [False, False, True, False]
    assert holds(claim, *dogs[:2], thing("cat", TOP))
    assert holds(claim, *dogs[:2], dogs[0]), "what is found twice is one"


def test_attributes_belong_to_their_own_objects():
    claim = Bound(pairs=(("lava", "llama"), ("ice", "dog")), choices=("lava", "ice"))
    assert claim.nouns == ("llama", "dog")
    assert holds(claim, thing("llama", LEFT, "lava"), thing("dog", RIGHT, "ice"))
    assert not holds(claim, thing("llama", LEFT, "ice"), thing("dog", RIGHT, "lava"))
    assert not holds(claim, thing("llama", LEFT, "lava"))
    assert not holds(claim, thing("llama", LEFT), thing("dog", RIGHT))


@pytest.mark.parametrize("side", SIDES)
def test_places_are_those_that_captions_speak_of(side):
    boxes = {"left of": (LEFT, RIGHT), "right of": (RIGHT, LEFT)}
    boxes |= {"above": (TOP, (0.3, 0.6, 0.6, 0.9)), "below": ((0.3, 0.6, 0.6, 0.9), TOP)}
    first, second = boxes[side]
    assert direction(first, second) == side
    claim = Placed(subject="dog", side=side, other="cat")
    assert holds(claim, thing("dog", first), thing("cat", second))
    assert not holds(claim, thing("dog", second), thing("cat", first))
    assert not holds(claim, thing("dog", first))


def test_absence_needs_the_rest():
    claim = Absent(noun="cat", present=("dog", "owl"))
    dog, owl = thing("dog", LEFT), thing("owl", RIGHT)
    assert holds(claim, dog, owl)
    assert not holds(claim, dog, owl, thing("cat", TOP))
    assert not holds(claim, dog)
    assert not holds(claim), "a blank picture does not pass"
