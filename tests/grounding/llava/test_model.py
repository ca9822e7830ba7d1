"""What joins the parts, compared with transformers' own LLaVAs on the same parameters."""

import pytest
import torch
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    SiglipVisionConfig,
)

from grounding.errors import CheckpointError, PromptError
from grounding.llava.config import LlavaConfig as LlavaParts
from grounding.llava.conversation import Conversation
from grounding.llava.model import build_llava
from grounding.llava.projector import build_projector
from grounding.llava.template import find_template
from grounding.llava.tokens import IMAGE_ID, tokenize
from tests.grounding.llava import tiny
from tests.grounding.llava.test_template import CONVERSATIONS

IMAGE = tiny.WORDS - 1  # a byte that the prompts do not have
SIZES = [(40, 30), (28, 28), (90, 27)]


def theirs(model) -> torch.nn.Module:
    """transformers' class with the parameters of ours."""
    config = model.config
    anyres = config.aspect == "anyres"
    values = {
        "vision_config": config.vision,
        "text_config": config.text,
        "image_token_index": IMAGE,
    }
    if anyres:
        values["image_grid_pinpoints"] = [[h, w] for w, h in config.pinpoints]
        other = LlavaNextForConditionalGeneration(LlavaNextConfig(**values))
        other.model.image_newline = model.image_newline
    else:
        other = LlavaForConditionalGeneration(LlavaConfig(**values))
    other.model.vision_tower = model.vision_tower
    other.model.language_model = model.language_model.model
    other.model.multi_modal_projector.linear_1 = model.projector[0]
    other.model.multi_modal_projector.linear_2 = model.projector[2]
    other.lm_head = model.language_model.lm_head
    return other.eval()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("version", ["v1.5", "next"])
@torch.no_grad()
def test_logits_are_those_of_transformers(version, size):
    model = tiny.llava(version)
    pixels = model.config.reader(tiny.picture(*size))
    conversation = Conversation.of("What is it?", [tiny.picture(*size)])
    tokens = tokenize(find_template("vicuna_v1").pieces(conversation), tiny.tokenizer())
    words = model.embed(tokens, [pixels]).words
    count = model.config.tokens(size)
    ids = [
        token for i in tokens.ids.tolist() for token in ([IMAGE] * count if i == IMAGE_ID else [i])
    ]
    given = {"pixel_values": pixels.values}
    if version == "next":
        given = {
            "pixel_values": pixels.values[None],
            "image_sizes": torch.tensor([[size[1], size[0]]]),
        }
    expected = theirs(model)(input_ids=torch.tensor([ids]), **given).logits
    torch.testing.assert_close(
        model.language_model(inputs_embeds=words[None]).logits, expected, rtol=0, atol=1e-6
    )


@torch.no_grad()
def test_a_picture_becomes_as_many_words_as_are_told():
    for version in ("v1", "v1.5", "next"):
        model = tiny.llava(version)
        for size in SIZES:
            pixels = model.config.reader(tiny.picture(*size))
            assert model.see(pixels).shape == (model.config.tokens(size), tiny.WIDTH)
    whole = tiny.llava(feature="cls_patch")
    pixels = whole.config.reader(tiny.picture(40, 30))
    assert len(whole.see(pixels)) == whole.config.tokens((40, 30)) == 5


def test_the_loss_is_that_of_the_answers():
    model = tiny.llava()
    template = find_template("vicuna_v1")
    pixels = model.config.reader(tiny.picture(40, 30))
    prompts = [
        model.embed(tokenize(template.pieces(CONVERSATIONS[name]), tiny.tokenizer()), [pixels])
        for name in ("dialogue", "caption")
    ]
    loss = model(prompts)
    alone = [model([prompt]) for prompt in prompts]
    counts = [(prompt.labels[1:] != -100).sum() for prompt in prompts]
    mean = sum(a * n for a, n in zip(alone, counts, strict=True)) / sum(counts)
    torch.testing.assert_close(loss, mean)
    loss.backward()
    assert model.projector[0].weight.grad.abs().sum() > 0


def test_the_same_seed_builds_the_same_model():
    before = torch.get_rng_state()
    one, other = (build_llava(tiny.config(), seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(before, torch.get_rng_state())


def test_projectors():
    assert build_projector("mlp3x_gelu", 4, 8)(torch.zeros(2, 4)).shape == (2, 8)
    assert build_projector("identity", 4, 4)(torch.ones(2, 4)).equal(torch.ones(2, 4))
    assert list(build_projector("linear", 4, 8).state_dict()) == ["weight", "bias"]
    assert list(build_projector("mlp1x_gelu", 4, 8).state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises(CheckpointError, match="equal widths"):
        build_projector("identity", 4, 8)
    for name in ("mlp0x_gelu", "resampler", "mlp2x_gelu; x"):
        with pytest.raises(CheckpointError, match="expected a projector"):
            build_projector(name, 4, 8)


def test_places_and_pictures_must_agree():
    model = tiny.llava()
    pieces = find_template("vicuna_v1").pieces(CONVERSATIONS["question"])
    with pytest.raises(PromptError, match="places for 1 pictures, got 0"):
        model.embed(tokenize(pieces, tiny.tokenizer()), [])


def test_impossible_configs_are_refused():
    with pytest.raises(CheckpointError, match="pinpoints must be multiples"):
        tiny.config("next", pinpoints=((30, 56),))


@torch.no_grad()
def test_towers_without_a_class_token():
    tower = SiglipVisionConfig(
        hidden_size=tiny.WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=tiny.SIDE,
        patch_size=tiny.PATCH,
    )
    text = tiny.text()
    model = build_llava(LlavaParts(vision=tower, text=text)).eval()
    pixels = model.config.reader(tiny.picture(40, 30))
    assert len(model.see(pixels)) == model.config.tokens((40, 30)) == 4
