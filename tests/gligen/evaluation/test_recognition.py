"""The judge's counts."""

from gligen.evaluation.recognition import Tally
from gligen.evaluation.sticker_layouts import sticker_layout
from grounding.stickers import PRESETS

WORLD = PRESETS["small"]


class KnowingJudge:
    """A judge that has read the request."""

    def __init__(self, instances):
        self.answer = [(i.noun, i.attribute or "plain") for i in instances]

    def names(self, crops):
        assert len(crops) == len(self.answer)
        return self.answer


def test_a_tally_counts_what_the_judge_names():
    layouts = [sticker_layout(WORLD.scene(seed)) for seed in range(20)]
    right, wrong = Tally(), Tally()
    for layout in layouts:
        asked, image = layout.instances, layout.truth()
        right.add(asked, image, KnowingJudge(asked))
        wrong.add(asked, image, KnowingJudge(asked[::-1]))
    assert right.rates()["concept_top1"] == right.rates()["material_top1"] == 1
    assert wrong.concepts == sum(len(x.instances) % 2 for x in layouts)  # the middle one stays
    assert right.joined(wrong).objects == 2 * right.objects
    assert Tally().rates()["concept_top1"] == 0
