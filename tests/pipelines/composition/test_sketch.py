from grounding.prompt import GroundedPrompt, Region
from pipelines.composition.sketch import is_made_of_something, sketch

PLAN = GroundedPrompt(
    prompt="an ice doughnut left of a stone owl and two ice cherries",
    regions=(
        Region(id="a", phrase="ice doughnut", box=(0, 0, 0.3, 1)),
        Region(id="b", phrase="stone owl", box=(0.4, 0, 0.6, 1)),
        Region(id="c", phrase="ice cherries", box=(0.7, 0, 1, 1)),
        Region(id="d", phrase="llama", box=(0.6, 0, 0.7, 1)),
    ),
)


def test_some_things_become_plain_and_the_prompt_with_them():
    plain = sketch(PLAN, ("a", "b"))
    assert plain.prompt == "a doughnut left of an owl and two ice cherries"
    assert [one.phrase for one in plain.regions] == ["doughnut", "owl", "ice cherries", "llama"]
    assert [one.box for one in plain.regions] == [one.box for one in PLAN.regions]


def test_a_plural_of_the_prompt_becomes_plain_too():
    assert sketch(PLAN, "c").prompt == "an ice doughnut left of a stone owl and two cherries"
    assert sketch(PLAN, "d") == PLAN


def test_only_what_can_be_seen_counts_as_made_of_something():
    made = [is_made_of_something(region) for region in PLAN.regions]
    assert made == [True, True, True, False]
