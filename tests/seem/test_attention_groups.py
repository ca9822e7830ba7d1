"""The tables of who sees whom, against the sentences of SEEM's notes."""

import pytest
import torch

from seem.attention_groups import ABSENT, GROUPINGS, NOBODY, Group, self_attention_mask

G = Group


def seen_by(form: str, group: Group) -> set[Group]:
    """What a row of a group sees, read off the mask itself."""
    rows, columns = torch.tensor([[group]]), torch.tensor([list(Group)])
    nobody = torch.full_like(columns, NOBODY)
    mask = self_attention_mask(GROUPINGS[form], rows, nobody[:, :1], columns, nobody)
    return {column for column, seen in zip(Group, mask.flatten(), strict=True) if seen}


@pytest.mark.parametrize("form", ["v0", "v1"])
def test_trained_forms_keep_their_groups_apart(form: str) -> None:
    assert seen_by(form, G.OBJECT) == {G.OBJECT}
    assert seen_by(form, G.GROUNDING) == {G.GROUNDING, G.TEXT}
    assert seen_by(form, G.TEXT) == {G.GROUNDING, G.TEXT}
    assert seen_by(form, G.SPATIAL) == {G.SPATIAL, G.STROKE, G.MEMORY}
    assert seen_by(form, G.STROKE) == {G.STROKE}
    assert seen_by(form, G.MEMORY) == {G.MEMORY}


def test_the_demo_has_one_group_that_sees_every_prompt() -> None:
    prompts = {G.TEXT, G.STROKE, G.VISUAL, G.AUDIO}
    assert seen_by("demo", G.OBJECT) == {G.OBJECT, *prompts}
    assert seen_by("demo", G.TEXT) == {G.OBJECT, G.TEXT}
    assert seen_by("demo", G.AUDIO) == {G.OBJECT, G.AUDIO}
    assert seen_by("demo", G.VISUAL) == {G.VISUAL}
    assert not seen_by("demo", G.MEMORY)
    assert not GROUPINGS["demo"].has_memory


def test_objects_do_not_see_one_another() -> None:
    groups = torch.tensor([[G.SPATIAL, G.SPATIAL, G.STROKE, G.STROKE, G.MEMORY]])
    owners = torch.tensor([[0, 1, 0, 1, 1]])
    mask = self_attention_mask(GROUPINGS["v1"], groups, owners, groups, owners)[0, 0]
    assert mask.tolist() == [
        [True, False, True, False, False],
        [False, True, False, True, True],
        [False, False, True, False, False],
        [False, False, False, True, False],
        [False, False, False, False, True],
    ]


@pytest.mark.parametrize("form", GROUPINGS)
def test_padding_sees_nothing_and_is_not_seen(form: str) -> None:
    groups = torch.tensor([[G.OBJECT, ABSENT]])
    owners = torch.full_like(groups, NOBODY)
    mask = self_attention_mask(GROUPINGS[form], groups, owners, groups, owners)
    assert mask.tolist() == [[[[True, False], [False, False]]]]


@pytest.mark.parametrize("form", GROUPINGS)
def test_rows_that_look_at_the_image_come_first(form: str) -> None:
    crossing = GROUPINGS[form].crosses
    existing = [group for group in Group if group in GROUPINGS[form].attends]
    assert set(existing[: len(crossing)]) == crossing
