"""Stable Diffusion 2.x, XL and inpainting models under an adapter, from a document to a picture."""

import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders import autoencoder_kl
from PIL import Image

from gligen.adapter import AdapterConfig, GligenAdapter
from grounding.errors import CheckpointError, GeometryError, LavallamaError, PromptError
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from pipelines.generation.generator import NO_ADAPTER, Generator
from pipelines.generation.text import TextReader
from tests.pipelines.conftest import SIDE, WIDTH
from tests.pipelines.generation.families import PROJECTION, UNETS, write_family, write_gates
from weights.base import load_base
from weights.gligen import save_pretrained

BOX = (0.25, 0.25, 0.75, 0.75)
STEPS = 3
PROMPT, NEGATIVE = "a lava llama", "a cat"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("families")
    for family in UNETS:
        write_family(root / family, family)
        write_gates(root / f"{family}_gates", root / family, family)
    return root


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    pixels = np.random.RandomState(0).randint(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pixels).save(path)
    return str(path)


def load(folders: Path, family: str, adapter: str | None = None) -> Generator:
    gates = folders / f"{family}_gates" if adapter is None else adapter
    return Generator.from_pretrained(folders / family, gates, device="cpu", offline=True)


def asked(prompt: str = PROMPT, boxes: bool = True, **fields) -> GroundedPrompt:
    regions = (Region(phrase="a llama", box=BOX),) if boxes else ()
    return GroundedPrompt(prompt=prompt, regions=regions, **fields)


def drawn(generator: Generator, document: GroundedPrompt, **settings) -> np.ndarray:
    defaults = {"seed": 3, "steps": STEPS, "schedule": (1.0, 0.0, 0.0)}
    [picture] = generator(document, **{**defaults, **settings})
    return np.asarray(picture.image)


def silent(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_a_base_draws_what_diffusers_pipeline_draws(folders, family):
    kind = diffusers.StableDiffusionXLPipeline if family == "sdxl" else diffusers.StableDiffusionPipeline  # noqa: E501  # fmt: skip
    pipeline = kind.from_pretrained(folders / family)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(3))
    for negative in (NEGATIVE, None):
        [theirs] = pipeline(
            PROMPT,
            negative_prompt=negative,
            height=SIDE,
            width=SIDE,
            num_inference_steps=STEPS,
            guidance_scale=7.5,
            latents=noise,
            output_type="pt",
        ).images
        expected = (theirs.permute(1, 2, 0) * 255).round().numpy()
        document = asked(boxes=False, negative_prompt=negative or "")
        ours = drawn(load(folders, family, NO_ADAPTER), document)
        assert np.abs(ours - expected).max() <= 1


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_gates_follow_boxes_on_every_base(folders, family):
    generator = load(folders, family)
    first = drawn(generator, asked())
    assert np.array_equal(first, drawn(generator, asked()))
    assert not np.array_equal(first, drawn(generator, asked(boxes=False)))
    moved = asked().replace(regions=(Region(phrase="a llama", box=(0.0, 0.0, 0.4, 0.4)),))
    renamed = asked().replace(regions=(Region(phrase="a volcano", box=BOX),))
    assert not np.array_equal(first, drawn(generator, moved))
    assert not np.array_equal(first, drawn(generator, renamed))
    together = generator([asked(), moved], batch=2, seed=3, steps=STEPS, schedule=(1.0, 0.0, 0.0))
    assert np.abs(np.asarray(together[0].image).astype(int) - first).max() <= 1


def test_sdxl_is_told_the_size_of_the_picture(folders):
    reader = TextReader.of(load_base(folders / "sdxl"))
    words = reader.prompt(PROMPT, silent, (48, 32))
    assert words.context.shape[-1] == 2 * WIDTH
    assert words.added["text_embeds"].shape == (1, PROJECTION)
    assert words.added["time_ids"].tolist() == [[32, 48, 0, 0, 32, 48]]
    nothing = reader.negative("", silent, (48, 32))
    assert not nothing.context.any()
    assert not nothing.added["text_embeds"].any()
    assert nothing.added["time_ids"].any()
    assert reader.negative("cat", silent, (48, 32)).context.any()


def test_a_phrase_of_sdxl_is_that_of_both_encoders(folders):
    base = load_base(folders / "sdxl")
    phrase = TextReader.of(base).phrase("a llama", silent)
    ids = base.tokenizer("a llama", return_tensors="pt").input_ids
    with torch.no_grad():
        first, second = base.text_encoder(ids).pooler_output, base.text_encoder_2(ids).text_embeds
    assert torch.equal(phrase, torch.cat((first, second), dim=-1))


@pytest.mark.parametrize("family", ["sd1_inpainting", "sd2_inpainting"])
def test_an_inpainting_unet_redraws_boxes_and_keeps_the_rest(folders, family, photo):
    generator = load(folders, family)
    before = np.asarray(Image.open(photo))
    after = drawn(generator, asked(image=photo))
    inside = np.zeros((SIDE, SIDE), bool)
    inside[8:24, 8:24] = True
    assert np.array_equal(after[~inside], before[~inside])
    assert (after[inside] != before[inside]).any(-1).mean() > 0.9
    assert np.array_equal(after, drawn(generator, asked(image=photo)))
    assert not np.array_equal(after, drawn(load(folders, family, NO_ADAPTER), asked(image=photo)))
    with pytest.raises(PromptError, match="this model redraws the boxes of a picture"):
        drawn(generator, asked())
    with pytest.raises(PromptError, match="the document has none; give some"):
        drawn(generator, asked(boxes=False, image=photo))


def test_an_inpainting_unet_redraws_boxes_of_a_photo_at_its_own_size(folders, photo, tmp_path):
    large = Image.open(photo).resize((4 * SIDE, 3 * SIDE))
    large.save(tmp_path / "large.png")
    generator, before = load(folders, "sd1_inpainting"), np.asarray(large)
    after = drawn(generator, asked(image=str(tmp_path / "large.png")))
    inside = np.zeros(before.shape[:2], bool)
    inside[24:72, 32:96] = True
    assert np.array_equal(after[~inside], before[~inside])
    assert (after[inside] != before[inside]).any(-1).mean() > 0.9


def test_an_inpainting_unet_draws_what_diffusers_pipeline_draws(folders, photo, monkeypatch):
    kind = autoencoder_kl.DiagonalGaussianDistribution
    monkeypatch.setattr(kind, "sample", lambda self, generator=None: self.mode())  # as ours
    pipeline = diffusers.StableDiffusionInpaintPipeline.from_pretrained(folders / "sd1_inpainting")
    pipeline.set_progress_bar_config(disable=True)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:24, 8:24] = 255
    [theirs] = pipeline(
        PROMPT,
        image=Image.open(photo),
        mask_image=Image.fromarray(mask),
        negative_prompt=NEGATIVE,
        height=SIDE,
        width=SIDE,
        num_inference_steps=STEPS,
        strength=1.0,
        latents=torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(3)),
        output_type="pt",
    ).images
    expected = (theirs.permute(1, 2, 0) * 255).round().numpy()
    generator = load(folders, "sd1_inpainting", NO_ADAPTER)
    ours = drawn(generator, asked(image=photo, negative_prompt=NEGATIVE))
    assert np.abs(ours - expected)[8:24, 8:24].max() <= 1


def test_an_adapter_that_reads_more_does_not_fit_an_inpainting_unet(folders, tmp_path):
    base = load_base(folders / "sd1_inpainting")
    plain = base.unet.from_config({**base.unet.config, "in_channels": 4})
    config = AdapterConfig(inpainting=True, phrase_dim=WIDTH, context_dim=WIDTH, hidden_dim=WIDTH)
    save_pretrained(GligenAdapter.for_unet(plain, config), tmp_path / "wide")
    with pytest.raises(CheckpointError, match="already reads 9 channels") as caught:
        Generator.from_pretrained(folders / "sd1_inpainting", tmp_path / "wide", device="cpu")
    assert "\n" not in str(caught.value)


def changed(folders: Path, family: str, tmp_path: Path, part: str, **values) -> Path:
    """A copy of a folder in which one config says something else; None removes it."""
    copy = tmp_path / "copy"
    shutil.copytree(folders / family, copy)
    where = copy / part / "config.json"
    said = {**json.loads(where.read_text()), **values}
    where.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))
    return copy


def test_folders_that_are_no_base_are_one_line(folders, tmp_path):
    cases = [
        ("sd2", "unet", {"class_embed_type": "projection"}, "expected the UNet of Stable Diff"),
        ("sd2", "unet", {"addition_embed_type": "text_time"}, "no second text encoder .* give one"),
        ("sdxl", "unet", {"addition_embed_type": None}, "got a plain one with two"),
        ("sd2", "unet", {"in_channels": 5}, "takes 5 channels, expected 4, or 9 for inpainting"),
        ("sd1_inpainting", "unet", {"attention_type": "gated"}, "give it with --adapter"),
    ]
    for number, (family, part, values, named) in enumerate(cases):
        copy = changed(folders, family, tmp_path / str(number), part, **values)
        with pytest.raises(CheckpointError, match=named) as caught:
            load_base(copy)
        assert "\n" not in str(caught.value)
    copy = tmp_path / "other"
    shutil.copytree(folders / "sdxl", copy)
    shutil.rmtree(copy / "tokenizer_2")
    with pytest.raises(CheckpointError, match="tokenizer_2: no such folder") as caught:
        load_base(copy)
    assert "\n" not in str(caught.value)


def test_the_autoencoder_of_sdxl_stays_in_float32_beside_float16(folders, tmp_path):
    def types(path: Path) -> list[torch.dtype]:
        base = load_base(path, dtype=torch.float16)
        return [next(model.parameters()).dtype for model in (base.unet, base.vae)]

    assert types(folders / "sdxl") == [torch.float16, torch.float32]
    assert types(folders / "sd2") == [torch.float16, torch.float16]
    fixed = changed(folders, "sdxl", tmp_path, "vae", force_upcast=False)
    assert types(fixed) == [torch.float16, torch.float16]


def test_a_gate_of_another_base_is_one_line(folders):
    with pytest.raises(LavallamaError) as caught:
        Generator.from_pretrained(folders / "sdxl", folders / "sd2_gates", device="cpu")
    assert "\n" not in str(caught.value)


def test_phrases_of_another_text_encoder_are_one_line(folders, tmp_path):
    base = load_base(folders / "sd2")
    narrow = AdapterConfig(phrase_dim=8, context_dim=WIDTH, hidden_dim=WIDTH)
    save_pretrained(GligenAdapter.for_unet(base.unet, narrow), tmp_path / "narrow")
    with pytest.raises(CheckpointError, match="phrases of 8 channels, .* give 16") as caught:
        Generator.from_pretrained(folders / "sd2", tmp_path / "narrow", device="cpu")
    assert "\n" not in str(caught.value)


def test_sizes_that_cannot_be_name_the_multiple(folders):
    with pytest.raises(GeometryError, match="width must be a multiple of 8 for this model, got 33"):
        load(folders, "sdxl")(asked(), size=(33, 57))
