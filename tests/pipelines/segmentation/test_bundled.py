"""The bundled models as one: which picture is asked of which."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from grounding.stickers.scene import render
from grounding.stickers.world import PRESETS
from pipelines.segmentation.bundled import BundledPredictor, is_sticker_scene, kind_of
from seem.encoded_image import Resizing
from seem.marks import pixel_marks
from seem.predictor import Predictor
from seem.question import Question
from seem.refined_predictor import RefinedPredictor
from seem.vocabulary import Vocabulary
from tests.seem.tiny import tiny_refined_seem, tiny_seem
from weights.registry import PHOTOGRAPHS, STICKERS

SMALL = Resizing(short_side=64, long_side=96)
CLASSES = ("person", "bicycle", "car", "motorcycle", "airplane")


def drawing(seed: int = 0) -> Image.Image:
    return Image.fromarray(render(PRESETS["small"].scene(seed, "held-out")).image)


def photograph(size: tuple[int, int] = (400, 300)) -> Image.Image:
    """Smooth noise with grain, which no flat drawing has."""
    chance = np.random.default_rng(0)
    coarse = Image.fromarray(chance.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(int)
    grain = chance.normal(0, 25, smooth.shape)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


@pytest.fixture
def opened() -> list[str]:
    return []


@pytest.fixture
def bundled(opened: list[str]) -> BundledPredictor:
    def open_model(name: str) -> Predictor:
        opened.append(name)
        kind: Callable[..., Predictor] = Predictor if name == STICKERS else RefinedPredictor
        model = tiny_seem("v1") if name == STICKERS else tiny_refined_seem()
        things = ("llama", "dog") if name == STICKERS else CLASSES
        words = Vocabulary(things=things, stuff=(), templates=("{}",))
        return kind(model, vocabulary=words, resizing=SMALL)

    return BundledPredictor(open_model)


@pytest.mark.parametrize("seed", range(5))
def test_sticker_scenes_are_flat(seed: int) -> None:
    picture = drawing(seed)
    assert is_sticker_scene(picture)
    assert kind_of(picture) == STICKERS
    assert kind_of(picture.resize((512, 512))) == PHOTOGRAPHS


@pytest.mark.parametrize("size", [(1, 1), (400, 300), (90, 120)])
def test_grainy_pictures_are_photographs(size: tuple[int, int]) -> None:
    if size == (1, 1):
        assert kind_of(Image.new("RGB", size)) == STICKERS  # flat as can be
    else:
        assert kind_of(photograph(size)) == PHOTOGRAPHS


def test_each_picture_is_asked_of_its_model(bundled: BundledPredictor, opened: list[str]) -> None:
    bundled.set_image(drawing())
    assert opened == [STICKERS]
    assert bundled.image.memory.refiner is None
    assert bundled.asked == STICKERS
    bundled.predict(points=[[20, 20]])
    bundled.set_image(photograph())
    assert opened == [STICKERS, PHOTOGRAPHS]
    assert bundled.model.refiner is not None
    assert bundled.asked == PHOTOGRAPHS
    masks, _, _ = bundled.predict(points=[[20, 20]])
    assert masks.shape == (1, 300, 400)
    before = bundled.encode(drawing())
    [again] = bundled.ask(
        [Question(marks=pixel_marks((128, 128), points=[[60, 60]]))], image=before
    )
    assert again.masks.shape == (1, 128, 128)  # the current picture is still the photograph
    assert bundled.image.memory.refiner is not None
    assert opened == [STICKERS, PHOTOGRAPHS]


def test_settings_reach_models_that_are_opened_later(bundled: BundledPredictor) -> None:
    class StopError(Exception):
        pass

    def stop() -> None:
        raise StopError

    bundled.check = stop
    for picture in (drawing(), photograph()):
        bundled.set_image(picture)
        with pytest.raises(StopError):
            bundled.predict(points=[[20, 20]])


def test_words_ask_the_model_that_knows_them(bundled: BundledPredictor, opened: list[str]) -> None:
    bundled.set_image(photograph())
    bundled.find(["car"])
    assert opened == [PHOTOGRAPHS]
    with pytest.raises(PromptError, match="does not know 'teapot'; it knows: person"):
        bundled.find(["car", "teapot"])
    with pytest.raises(PromptError, match="need a tokenizer"):  # the model for stickers is asked
        bundled.find(["lava llama"])
    assert opened == [PHOTOGRAPHS, STICKERS]
    assert bundled.image.memory.refiner is not None, "the picture is still a photograph"


def test_a_reference_of_the_other_kind_is_refused(bundled: BundledPredictor) -> None:
    bundled.set_image(drawing())
    reference = bundled.exemplar(points=[[60, 60]])
    bundled.set_image(photograph())
    with pytest.raises(PromptError, match="of two kinds"):
        bundled.predict(reference=reference)
    own = bundled.exemplar(points=[[60, 60]])
    assert bundled.predict(reference=own).masks.shape == (1, 300, 400)
