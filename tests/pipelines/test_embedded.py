"""The model that ships: its size, its files, and that it follows boxes on held-out requests."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from gligen.evaluation.extent import box_of_difference
from gligen.evaluation.recognition import Tally
from gligen.evaluation.sticker_layouts import sticker_layout
from grounding.geometry import box_iou, normalized_to_pixels
from grounding.prompt import GroundedPrompt, Region
from grounding.region import Reference
from grounding.stickers import PRESETS
from grounding.stickers.judge import StickerJudge, crop
from grounding.stickers.scene import render
from pipelines.compose import open_hand
from pipelines.composition.closeup import Closeup
from pipelines.evaluate.grounding_options import EMBEDDED_JUDGE
from pipelines.generation.generator import Generator
from pipelines.planning.planner import Planner

EMBEDDED = EMBEDDED_JUDGE.parent
LIMIT = 120 * 2**20  # bytes of all weights together


@pytest.fixture(scope="module")
def generator():
    return Generator.from_pretrained("embedded", offline=True)


def test_all_weights_together_are_small():
    weights = list(EMBEDDED.rglob("*.safetensors"))
    assert len(weights) == 10
    assert sum(path.stat().st_size for path in weights) < LIMIT


def test_the_card_tells_what_was_measured():
    card = (EMBEDDED / "README.md").read_text("utf-8")
    assert "| with gates |" in card
    assert "@" not in card


def test_diffusers_own_pipeline_opens_the_base():
    pipeline = StableDiffusionPipeline.from_pretrained(EMBEDDED / "base", safety_checker=None)
    pipeline.to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline("a llama", num_inference_steps=2, generator=torch.Generator().manual_seed(0))
    assert drawn.images[0].size == (128, 128)  # pyright: ignore


def test_a_lava_llama_lies_in_its_box(generator):
    """(lava, llama) never occurred in training."""
    box = (0.15, 0.15, 0.85, 0.9)
    document = GroundedPrompt(
        prompt="a lava llama on a white background", regions=(Region(phrase="lava llama", box=box),)
    )
    drawn = generator([document] * 3, progress=False)
    found = [box_of_difference(np.asarray(d.image)) for d in drawn]
    assert np.mean([box_iou(f, box) if f else 0.0 for f in found]) > 0.5


@pytest.mark.parametrize("split", ["held-out", "held-out pairs"])
def test_the_judge_knows_true_renderings(split):
    judge = StickerJudge.from_pretrained(EMBEDDED_JUDGE)
    tally = Tally()
    for seed in range(20):
        scene = PRESETS["crowd"].scene(seed, split)
        tally.add(sticker_layout(scene).instances, render(scene).image, judge)
    assert tally.rates()["concept_top1"] > 0.95
    assert tally.rates()["material_top1"] > 0.95


@pytest.mark.parametrize("split", ["held-out", "held-out pairs"])
def test_held_out_requests_are_followed(generator, split):
    judge = StickerJudge.from_pretrained(EMBEDDED_JUDGE)
    scenes = [PRESETS["small"].scene(seed, split, count=2) for seed in range(8)]
    layouts = [sticker_layout(scene) for scene in scenes]
    tally = Tally()
    drawn = generator([layout.document for layout in layouts], batch=4, progress=False)
    for layout, picture in zip(layouts, drawn, strict=True):
        tally.add(layout.instances, np.asarray(picture.image), judge)
    assert tally.rates()["concept_top1"] > 0.9
    assert tally.rates()["material_top1"] > 0.9


def test_what_is_too_small_is_right_in_a_closeup():
    caption = (
        "a gold cat, a lava dog, a stone owl, an ice fox, a wood cactus and a grass bus at night"
    )
    judge, draw = StickerJudge.from_pretrained(EMBEDDED_JUDGE), open_hand({}, offline=True)
    plan = Planner().plan(caption).document

    def right(picture: Image.Image) -> int:
        named = judge.names([crop(np.asarray(picture), region.box) for region in plan.regions])
        said = [f"{material} {concept}" for concept, material in named]
        return sum(name == region.phrase for name, region in zip(said, plan.regions, strict=True))

    once = composed = draw(plan, 1, None)
    for region in plan.regions:
        closeup = Closeup.of(plan, region.id, once.size, "at night")
        composed = closeup.put(draw(closeup.document, 1, closeup.cut(composed)), composed)
    assert right(once) < right(composed) == len(plan.regions)


def test_the_same_seed_gives_the_same_bits_beside_whatever_else(generator):
    documents = [sticker_layout(PRESETS["small"].scene(seed)).document for seed in range(3)]
    alone = [np.asarray(generator(d, seed=5, progress=False)[0].image) for d in documents]
    together = generator(documents[::-1], seed=5, progress=False)[::-1]
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, np.asarray(other.image))


def test_a_picture_is_redrawn_inside_its_box_alone(generator, tmp_path):
    before = np.random.RandomState(0).randint(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(before).save(tmp_path / "scene.png")
    document = GroundedPrompt(
        prompt="a llama", regions=(Region(phrase="llama", box=(0.5, 0.25, 1.0, 0.75)),)
    )
    drawn = [
        np.asarray(generator(document, image=str(tmp_path / "scene.png"), steps=3)[0].image)
        for _ in range(2)
    ]
    assert np.array_equal(*drawn)
    inside = np.zeros(before.shape[:2], bool)
    inside[32:96, 64:] = True
    assert np.array_equal(drawn[0][~inside], before[~inside])
    assert (drawn[0][inside] != before[inside]).any()


def test_a_reference_picture_stands_for_its_phrase(generator, tmp_path):
    """What is drawn from a picture of a thing is that thing, as the judge sees it."""
    judge = StickerJudge.from_pretrained(EMBEDDED_JUDGE)
    tally = Tally()
    for seed in range(6):
        scene = PRESETS["small"].scene(seed, "held-out", count=1)
        layout = sticker_layout(scene)
        picture = Image.fromarray(render(scene).image)
        [region] = layout.document.regions
        assert region.box is not None
        place = normalized_to_pixels(region.box, picture.size)
        picture.crop([round(edge) for edge in place]).save(tmp_path / f"{seed}.png")
        shown = Reference(image=str(tmp_path / f"{seed}.png"))
        document = layout.document.replace(regions=(Region(box=region.box, reference=shown),))
        [drawn] = generator(document, progress=False)
        tally.add(layout.instances, np.asarray(drawn.image), judge)
    assert tally.rates()["concept_top1"] >= 0.5


def test_examples_are_there():
    examples = Path(__file__).parents[2] / "examples"
    for name in ("lava_llama.png", "gallery.png"):
        assert (examples / name).stat().st_size > 10_000
