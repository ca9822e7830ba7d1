"""The decoder: what is remembered, what may be dropped, and who must not change whom."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from grounding.errors import PromptError
from seem.attention_groups import Group
from seem.config import GroupingName
from seem.decoder import DecoderOutput, mask_logits
from seem.model import build_seem
from seem.prompt import Prompt
from tests.seem.tiny import SIZE, bitmap, normal, tiny_memory, tiny_seem, tiny_text

FORMS: tuple[GroupingName, ...] = ("demo", "v0", "v1")
TRAINED: tuple[GroupingName, ...] = ("v0", "v1")
LEFT, RIGHT = (10, 12, 20, 30), (30, 50, 50, 80)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def drawn(grouping: GroupingName, *rectangles: tuple[int, int, int, int], image: int = 0):
    memory = tiny_memory(grouping, image + 1)
    return tiny_seem(grouping).encode_marks(memory, bitmap(*rectangles), image=image)


def said(output: DecoderOutput, group: Group, prompt: int = 0) -> torch.Tensor:
    """Captions and mask embeddings of a group's present queries, side by side."""
    span = output.spans[group]
    present = output.groups[prompt, span] >= 0
    parts = (output.predictions.captions, output.predictions.mask_embeddings)
    return torch.cat([part[prompt, span][present] for part in parts], dim=-1)


@pytest.mark.parametrize("grouping", TRAINED)
def test_interactive_prompts_may_drop_the_object_queries(grouping: GroupingName) -> None:
    model, memory = tiny_seem(grouping), tiny_memory(grouping)
    prompt = Prompt(spatial=drawn(grouping, LEFT), text=tiny_text(grouping, 5))
    whole = model.decode(memory, [prompt])
    quick = model.decode(memory, [prompt], objects=False)
    assert quick.predictions.captions.shape[1] < whole.predictions.captions.shape[1]
    for group in (Group.SPATIAL, Group.GROUNDING):
        torch.testing.assert_close(said(quick, group), said(whole, group), **CLOSE)
    alone = model.decode(memory, [Prompt()])
    torch.testing.assert_close(said(alone, Group.OBJECT), said(whole, Group.OBJECT), **CLOSE)


@pytest.mark.parametrize("grouping", FORMS)
def test_a_memory_serves_any_number_of_prompts(grouping: GroupingName) -> None:
    model, pixels = tiny_seem(grouping), normal(1, 1, 3, *SIZE)
    memory = tiny_memory(grouping)
    prompts = [Prompt(spatial=drawn(grouping, LEFT)), Prompt(text=tiny_text(grouping, 4, 6))]
    for prompt in prompts:
        kept = model.decode(memory, [prompt]).predictions
        fresh = model.decode(model.encode_image(pixels), [prompt]).predictions
        assert torch.equal(kept.captions, fresh.captions)
        assert torch.equal(kept.mask_embeddings, fresh.mask_embeddings)


def test_what_is_remembered_is_what_layers_would_compute() -> None:
    """Keys, values and small mask features against the plain way, level after level."""
    model, memory = tiny_seem("v0"), tiny_memory("v0")
    features = model.pixel_decoder(*model.backbone(normal(1, 1, 3, *SIZE)))
    embeddings = normal(5, 1, 7, model.config.dim)
    large = mask_logits(embeddings, memory)
    for level, wanted in enumerate(features.multi_scale):
        small = F.interpolate(large, wanted.shape[-2:], mode="bilinear").flatten(2)
        cheap = embeddings @ memory.level_mask_features[level]
        torch.testing.assert_close(cheap, small, **CLOSE)
        source = wanted + model.decoder.level_embed.weight[level][:, None, None]
        assert torch.equal(memory.levels[level], source)
    for number, layer in enumerate(model.decoder.transformer_cross_attention_layers):
        tokens = memory.levels[number % 3].flatten(2).transpose(1, 2)
        assert torch.equal(memory.values[number], layer.multihead_attn.values(tokens))


@pytest.mark.parametrize("grouping", FORMS)
def test_a_prompt_does_not_depend_on_its_batch(grouping: GroupingName) -> None:
    model, memory = tiny_seem(grouping), tiny_memory(grouping, 2)
    prompts = [
        Prompt(spatial=drawn(grouping, LEFT), text=tiny_text(grouping, 3)),
        Prompt(text=tiny_text(grouping, 9), audio=tiny_text(grouping, 5)),
    ]
    together = model.decode(memory, prompts)
    for p, prompt in enumerate(prompts):
        alone = model.decode(memory.select([p]), [prompt])
        for group in (Group.OBJECT, Group.GROUNDING, Group.SPATIAL):
            torch.testing.assert_close(
                said(together, group, p), said(alone, group), **CLOSE, check_stride=False
            )


def test_several_objects_are_each_as_if_alone() -> None:
    model, memory = tiny_seem("v1"), tiny_memory("v1")
    picks = torch.tensor([[0, 3, 5], [2, 2, 9]])
    previous = normal(8, 2, SIZE[0] // 4, SIZE[1] // 4)
    both = Prompt(spatial=drawn("v1", LEFT, RIGHT), picks=picks, previous=previous)
    together = said(model.decode(memory, [both], objects=False), Group.SPATIAL)
    for i, rectangle in enumerate((LEFT, RIGHT)):
        one = Prompt(
            spatial=drawn("v1", rectangle), picks=picks[i : i + 1], previous=previous[i : i + 1]
        )
        alone = said(model.decode(memory, [one], objects=False), Group.SPATIAL)
        torch.testing.assert_close(together[3 * i : 3 * i + 3], alone, **CLOSE)


@pytest.mark.parametrize("grouping", TRAINED)
def test_a_previous_mask_changes_the_answer(grouping: GroupingName) -> None:
    model, memory = tiny_seem(grouping), tiny_memory(grouping)
    first = Prompt(spatial=drawn(grouping, LEFT))
    output = model.decode(memory, [first], objects=False)
    answer = model.answer(memory, output, first, "spatial")
    again = model.decode(memory, [replace(first, previous=answer.mask_logits)], objects=False)
    difference = said(again, Group.SPATIAL) - said(output, Group.SPATIAL)
    assert difference.abs().max() > 1e-3


@pytest.mark.parametrize("grouping", FORMS)
def test_a_reference_image_answers_in_every_form(grouping: GroupingName) -> None:
    """Tokens from another image; in the trained forms they stand where strokes would."""
    model, memory = tiny_seem(grouping), tiny_memory(grouping)
    tokens = drawn(grouping, RIGHT, image=1)
    prompt = Prompt(visual=tokens)
    output = model.decode(memory, [prompt], objects=False)
    answer = model.answer(memory, output, prompt, "visual")
    assert answer.mask_logits.shape == (1, SIZE[0] // 4, SIZE[1] // 4)
    as_stroke = model.decode(memory, [Prompt(spatial=tokens)], objects=False)
    same = torch.equal(output.predictions.captions, as_stroke.predictions.captions)
    assert same or grouping == "demo"


def test_positioned_marks_tell_places_apart_and_references_lie_nowhere() -> None:
    plain = tiny_seem("v1")
    memory = tiny_memory("v1")
    placed = build_seem(replace(plain.config, mark_positions=True)).requires_grad_(False)
    placed.load_state_dict(plain.state_dict())
    tokens = drawn("v1", LEFT)
    for part, changes in (("spatial", True), ("visual", False)):
        prompt = Prompt(**{part: tokens})
        one, other = (
            model.decode(memory, [prompt], objects=False).predictions.mask_embeddings
            for model in (plain, placed)
        )
        assert torch.equal(one, other) is not changes


def test_picks_are_the_same_in_every_run_unless_drawn() -> None:
    decoder = tiny_seem("v1").decoder
    assert decoder.default_picks.tolist() == [2, 6, 10]
    drawn_twice = [decoder.random_picks(2, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert drawn_twice[0].shape == (2, 3)
    assert torch.equal(*drawn_twice)
    memory, spatial = tiny_memory("v1"), drawn("v1", LEFT)
    default = decoder(memory, [Prompt(spatial=spatial)])
    same = decoder(memory, [Prompt(spatial=spatial, picks=torch.tensor([[2, 6, 10]]))])
    other = decoder(memory, [Prompt(spatial=spatial, picks=torch.tensor([[0, 1, 2]]))])
    assert torch.equal(said(default, Group.SPATIAL), said(same, Group.SPATIAL))
    assert not torch.allclose(said(default, Group.SPATIAL), said(other, Group.SPATIAL))


def test_every_parameter_of_the_decoder_can_learn() -> None:
    model = tiny_seem("v1")
    features = model.pixel_decoder(*model.backbone(normal(1, 1, 3, *SIZE)))
    decoder = model.decoder.requires_grad_(True)
    try:
        memory = decoder.remember(features)
        marks = bitmap(LEFT), bitmap(RIGHT)
        prompt = Prompt(
            spatial=decoder.read_marks(memory, *marks),
            text=tiny_text("v1", 4),
            previous=normal(3, 1, SIZE[0] // 4, SIZE[1] // 4),
        )
        output = decoder(memory, [prompt], earlier=True)
        spoken = [*output.earlier, output.predictions]
        loss = sum(p.captions.sum() + p.mask_embeddings.square().sum() for p in spoken)
        loss.backward()
        silent = [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
        assert not silent
        assert len(output.earlier) == model.config.layers
    finally:
        decoder.zero_grad()
        decoder.requires_grad_(False)


def test_impossible_prompts_are_refused() -> None:
    two, one = drawn("v0", LEFT, RIGHT), drawn("demo", LEFT)
    mask = normal(2, 1, SIZE[0] // 4, SIZE[1] // 4)
    picks = torch.tensor([[0, 1, 2]])
    cases = [
        ("v0", Prompt(spatial=two), "one object a pass, got 2"),
        ("v0", Prompt(spatial=drawn("v0", LEFT), picks=picks), "picks of queries are for"),
        ("v1", Prompt(spatial=drawn("v1", LEFT, RIGHT), picks=picks), "each of the 2 objects"),
        ("v1", Prompt(spatial=drawn("v1", LEFT, RIGHT), previous=mask), "2 objects, 1 masks"),
        ("demo", Prompt(spatial=one, previous=mask), "no memory"),
    ]
    for grouping, prompt, message in cases:
        with pytest.raises(PromptError, match=message):
            tiny_seem(grouping).decode(tiny_memory(grouping), [prompt])
    with pytest.raises(PromptError, match="nothing is asked"):
        tiny_seem("v1").decode(tiny_memory("v1"), [Prompt()], objects=False)
    with pytest.raises(PromptError, match="2 images and 1 prompts"):
        tiny_seem("v1").decode(tiny_memory("v1", 2), [Prompt()])
    with pytest.raises(PromptError, match="padded image's size"):
        tiny_seem("v1").encode_marks(tiny_memory("v1"), torch.ones(1, 8, 8, dtype=torch.bool))
