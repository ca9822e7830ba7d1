"""LoRA, a word, ControlNet, IP-Adapter and gates in one run: each has its effect, none harms."""

from pathlib import Path

import numpy as np
import pytest
import torch

from grounding.prompt import GroundedPrompt, Region
from pipelines.generation.companions.company import Company
from pipelines.generation.generator import Generator
from weights.base import load_base

LLAMA = Region(phrase="lava llama", box=(0.1, 0.1, 0.6, 0.7))
PROMPT = GroundedPrompt(prompt="a <toy>", regions=(LLAMA,))
SETTINGS = {"seed": 5, "steps": 2, "schedule": (1.0, 0.0, 0.0), "progress": False}


def pixels(pictures):
    return np.asarray(pictures[0].image).astype(int)


@pytest.fixture(scope="module")
def names(lora: Path, embedding: Path, controlnet: Path, ip_adapter: Path) -> dict:
    return {
        "loras": [f"{lora}=0.5"],
        "embeddings": [str(embedding)],
        "controlnets": [str(controlnet)],
        "ip_adapter": str(ip_adapter),
    }


@pytest.fixture(scope="module")
def cues(edges: Path, photo: Path) -> dict:
    return {"controls": [f"{edges}=0.7"], "ip_image": f"{photo}=0.8"}


@pytest.fixture(scope="module")
def load(model_folder: Path, adapter_folder: Path):
    def made(**names):
        return Generator.from_pretrained(model_folder, adapter_folder, device="cpu", **names)

    return made


@pytest.fixture(scope="module")
def full(load, names: dict) -> Generator:
    return load(**names)


def test_each_has_its_effect_beside_the_others(full, load, names, cues):
    everything = pixels(full(PROMPT, **SETTINGS, **cues))
    others = {
        "gates": pixels(full(PROMPT.replace(regions=()), **SETTINGS, **cues)),
        "map": pixels(
            full(PROMPT, **SETTINGS, **{**cues, "controls": [f"{cues['controls'][0][:-4]}=0"]})
        ),
        "picture": pixels(full(PROMPT, **SETTINGS, controls=cues["controls"])),
    }
    for kind in ("loras", "embeddings"):
        less = {key: value for key, value in names.items() if key != kind}
        others[kind] = pixels(load(**less)(PROMPT, **SETTINGS, **cues))
    for name, picture in others.items():
        assert np.abs(picture - everything).max() > 3, name


def test_all_off_is_the_plain_run_to_the_bit(load, names, generator, lora):
    resting = load(**{**names, "loras": [f"{lora}=0"]})
    plain = PROMPT.replace(prompt="a toy")
    assert np.array_equal(pixels(resting(plain, **SETTINGS)), pixels(generator(plain, **SETTINGS)))


def test_a_result_is_drawn_again_and_says_what_it_lacks(full, generator, cues, caplog, names):
    [first] = full(PROMPT, **SETTINGS, **cues)
    made = first.document.provenance.settings
    assert made["lora"] == names["loras"][0]
    assert made["controlnet"] == names["controlnets"][0]
    assert made["control"] == cues["controls"][0]
    assert made["ip_image"] == cues["ip_image"]
    caplog.clear()
    [again] = full(first.document, progress=False)
    assert caplog.text == ""
    assert np.array_equal(pixels([first]), pixels([again]))
    with pytest.raises(ValueError, match="each ControlNet follows one map: 0 are loaded, and 1"):
        generator(first.document)
    assert "was drawn with lora" in caplog.text
    assert "ip_adapter" in caplog.text


@pytest.mark.parametrize("size", [(40, 24), (56, 40)])
def test_odd_sizes(full, cues, size):
    [picture] = full(PROMPT, size=size, **SETTINGS, **cues)
    assert picture.image.size == size
    [again] = full(picture.document, progress=False)
    assert np.array_equal(pixels([picture]), pixels([again]))


def test_neighbours_change_nothing(full, cues, photo):
    documents = [PROMPT.replace(prompt=name) for name in ("one <toy>", "two", "three")]
    alone = [pixels(full(one, **SETTINGS, **cues)) for one in documents]
    in_order = full(documents, **SETTINGS, **cues)
    together = full(documents, batch=3, **SETTINGS, **cues)
    for a, b, c in zip(alone, in_order, together, strict=True):
        assert np.array_equal(a, pixels([b]))
        assert np.abs(a - pixels([c])).max() <= 1


def test_unlike_weights_are_not_drawn_in_one_batch(full, cues, photo):
    [one] = full(PROMPT, **SETTINGS, **cues)
    [two] = full(PROMPT, **SETTINGS, **{**cues, "ip_image": f"{photo}=0.1"})
    both = full([one.document, two.document], batch=2, progress=False)
    for a, b in zip((one, two), both, strict=True):
        assert np.array_equal(pixels([a]), pixels([b]))


def test_a_guided_step_is_one_call_of_the_unet_and_of_the_controlnet(full, cues):
    calls = []
    models = (full.base.unet, full.company.controlnets[0].model)
    hooks = [
        model.register_forward_pre_hook(
            lambda m, args: calls.append((type(m).__name__, len(args[0])))
        )
        for model in models
    ]
    full(PROMPT, **SETTINGS, guidance=3.0, **cues)
    for hook in hooks:
        hook.remove()
    assert calls == 2 * [("ControlNetModel", 2), ("UNet2DConditionModel", 2)]


def test_gates_come_out_and_leave_the_companions_as_they_were(load, names):
    generator = load(**names)
    unet, adapter = generator.base.unet, generator.adapter
    torch.manual_seed(0)
    call = {
        "encoder_hidden_states": torch.randn(1, 6, 16),
        "added_cond_kwargs": {"image_embeds": [torch.randn(1, 1, 12)]},
        "return_dict": False,
    }
    latents, tokens = torch.randn(1, 4, 5, 7), adapter.null_tokens(1) + 1
    before_keys = list(unet.state_dict())
    with torch.no_grad():
        grounded = adapter.grounded(tokens)
        with grounded:
            steered = unet(latents, 1, **call)[0]
        plain = unet(latents, 1, **call)[0]
        processors = dict(unet.attn_processors)
        adapter.eject()
        bare = unet(latents, 1, **call)[0]
    assert not torch.equal(steered, plain)
    assert torch.equal(plain, bare)
    assert list(unet.state_dict()) == before_keys
    kept = [name for name, one in processors.items() if unet.attn_processors[name] is one]
    assert kept
    assert all("attn2" in name for name in kept)


def test_loading_draws_nothing_from_the_callers_random_state(model_folder, names):
    base = load_base(str(model_folder))
    torch.manual_seed(11)
    before = torch.get_rng_state()
    company = Company.load(names, base)
    assert torch.equal(before, torch.get_rng_state())
    company.attach(base)
    assert torch.equal(before, torch.get_rng_state())


def test_half_precision(model_folder, adapter_folder, names, cues):
    half = Generator.from_pretrained(
        model_folder, adapter_folder, device="cpu", dtype="bfloat16", **names
    )
    [picture] = half(PROMPT, **SETTINGS, **cues)
    assert picture.document.provenance.dtype == "bfloat16"
    assert {p.dtype for p in half.base.unet.parameters()} == {torch.bfloat16}
