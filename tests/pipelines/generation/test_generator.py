import logging

import numpy as np
import pytest
import torch
from PIL import Image

from grounding.errors import CheckpointError, GeometryError, LavallamaError, PromptError
from grounding.prompt import Canvas, GroundedPrompt, Region, Sampling
from pipelines.generate import Generation
from pipelines.generation.generator import NO_ADAPTER, Generator
from pipelines.generation.png import read_png
from pipelines.generation.text import TextReader
from tests.pipelines.conftest import LENGTH, MAX_BOXES, SIDE

LLAMA = (0.1, 0.1, 0.6, 0.7)
STEPS = 3


def document(prompt: str = "llama", boxes: tuple = (LLAMA,), **fields) -> GroundedPrompt:
    regions = tuple(Region(phrase=f"thing {index}", box=box) for index, box in enumerate(boxes))
    return GroundedPrompt(prompt=prompt, regions=regions, **fields)


def pixels(picture: Generation) -> np.ndarray:
    return np.asarray(picture.image)


def same(a: Generation, b: Generation) -> bool:
    return np.array_equal(pixels(a), pixels(b))


def test_a_picture_and_its_document(generator):
    [picture] = generator(document(), seed=5, steps=STEPS, guidance=3.0)
    assert picture.image.size == (SIDE, SIDE)
    assert picture.image.mode == "RGB"
    made = picture.document
    assert made.sampling == Sampling(
        seed=5,
        steps=STEPS,
        guidance=3.0,
        schedule=(0.3, 0.0, 0.7),
        scheduler="dpm++",
        isolate=False,
    )
    assert made.canvas == Canvas(width=SIDE, height=SIDE)
    assert made.regions == document().regions
    assert made.provenance is not None
    assert made.provenance.device == "cpu"
    assert made.provenance.dtype == "float32"
    assert made.provenance.attention == "sdpa"


def test_the_result_document_draws_the_same_picture(generator):
    [first] = generator(document(), seed=5, steps=STEPS, scheduler="unipc")
    [again] = generator(first.document)
    assert same(first, again)


def test_the_models_own_settings_are_quietly_used(generator, caplog):
    [picture] = generator(document(), steps=1)
    assert picture.document.sampling.guidance == 6.5
    assert caplog.text == ""


def test_boxes_phrases_prompt_and_negative_prompt_all_matter(generator):
    settings = {"seed": 1, "steps": STEPS, "schedule": (1.0, 0.0, 0.0)}
    region = Region(phrase="thing 0", box=(0.3, 0.3, 0.9, 0.9))
    variants = [
        document(),
        document(boxes=()),
        GroundedPrompt(prompt="llama", regions=(region,)),
        GroundedPrompt(prompt="llama", regions=(region.replace(phrase="rock"),)),
        document(prompt="alpaca"),
        document(negative_prompt="blue"),
    ]
    pictures = generator(variants, **settings)
    different = {picture.image.tobytes() for picture in pictures}
    assert len(different) == len(variants)


def test_no_boxes_is_the_plain_model(generator, model_folder):
    plain = Generator.from_pretrained(model_folder, device="cpu")
    assert plain.adapter is None
    settings = {"seed": 2, "steps": STEPS}
    [with_gates] = generator(document(boxes=()), **settings)
    [without] = plain(document(boxes=()), **settings)
    assert same(with_gates, without)


def test_image_i_is_the_picture_of_seed_plus_i(generator):
    three = generator(document(), images=3, seed=7, steps=STEPS)
    [last] = generator(document(), seed=9, steps=STEPS)
    assert [picture.document.sampling.seed for picture in three] == [7, 8, 9]
    assert [p.document.provenance.index for p in three if p.document.provenance] == [0, 1, 2]
    assert same(three[2], last)
    assert not same(three[0], last)


def test_neighbours_change_no_bit(generator):
    documents = [
        document("one", (), sampling=Sampling(seed=3)),
        document("two", (LLAMA,), sampling=Sampling(seed=4)),
        document("three", (LLAMA, (0.5, 0.5, 0.9, 0.9)), sampling=Sampling(seed=5)),
        document("four", (LLAMA,), sampling=Sampling(seed=6), negative_prompt="grey"),
    ]
    alone = [generator(one, steps=STEPS)[0] for one in documents]
    together = generator(documents[::-1], steps=STEPS)[::-1]
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


def test_a_batch_is_close_to_single_pictures(generator):
    documents = [
        document("one", (LLAMA,), sampling=Sampling(seed=3)),
        document("two", (LLAMA, (0.5, 0.5, 0.9, 0.9)), sampling=Sampling(seed=4)),
        document("three", (), sampling=Sampling(seed=5)),
    ]
    alone = generator(documents, steps=STEPS)
    together = generator(documents, steps=STEPS, batch=3)
    for a, b in zip(alone, together, strict=True):
        assert np.abs(pixels(a).astype(int) - pixels(b).astype(int)).max() <= 1
        assert a.document == b.document


def test_all_is_checked_before_anything_is_drawn(generator):
    with pytest.raises(PromptError, match="left out"):
        generator.stream(
            [document(), GroundedPrompt(prompt="x", regions=(Region(phrase="no box"),))],
            strict=True,
        )


def test_more_boxes_than_the_adapter_takes(generator, caplog):
    large = [(0.1 * i, 0.0, 0.1 * i + 0.5, 0.9) for i in range(MAX_BOXES)]
    small = (0.0, 0.0, 0.05, 0.05)
    settings = {"seed": 1, "steps": 2, "schedule": (1.0, 0.0, 0.0)}
    [kept] = generator(
        GroundedPrompt(prompt="p", regions=tuple(Region(phrase="a", box=b) for b in large)),
        **settings,
    )
    crowd = GroundedPrompt(
        prompt="p", regions=tuple(Region(phrase="a", box=b) for b in [small, *large])
    )
    with caplog.at_level(logging.WARNING):
        [picture] = generator(crowd, **settings)
    assert f"the adapter takes {MAX_BOXES}: only the largest" in caplog.text
    assert same(picture, kept)


def test_what_has_no_effect_is_said(generator, caplog):
    region = Region(phrase="x", box=LLAMA, points=[{"xy": (0.2, 0.2)}], attributes={"color": "red"})
    prompt = GroundedPrompt(prompt="p", background="a beach", regions=(region,))
    with caplog.at_level(logging.WARNING):
        generator(prompt, steps=1)
    assert "background, points of regions, attributes of regions" in caplog.text
    with pytest.raises(PromptError, match="points of regions"):
        generator(prompt, steps=1, strict=True)


def test_a_long_prompt_is_cut_and_the_loss_is_named(generator, caplog):
    seen = "a" * (LENGTH - 2)
    with caplog.at_level(logging.WARNING):
        [cut] = generator(document(f"{seen} UNREAD"), steps=1)
    assert "does not see 'unread'" in caplog.text
    [short] = generator(document(seen), steps=1)
    assert same(cut, short)


def test_boxes_without_gates(model_folder, caplog):
    plain = Generator.from_pretrained(model_folder, device="cpu")
    with pytest.raises(LavallamaError, match="no GLIGEN gates"):
        plain(document(), steps=1)
    on_purpose = Generator.from_pretrained(model_folder, NO_ADAPTER, device="cpu")
    with caplog.at_level(logging.WARNING):
        on_purpose(document(), steps=1)
    assert "no effect" in caplog.text


@pytest.mark.parametrize("size", [(40, 24), (32, 64)])
def test_sizes_that_are_not_square(generator, size):
    [picture] = generator(document(), size=size, steps=2)
    assert picture.image.size == size
    [again] = generator(picture.document)
    assert same(picture, again)


@pytest.mark.parametrize(
    ("size", "nearest"), [((36, 32), "32 or 40"), ((32, 3), "the nearest: 8"), ((0, 32), "8")]
)
def test_sizes_that_cannot_be(generator, size, nearest):
    with pytest.raises(GeometryError, match=f"multiple of 8.*{nearest}"):
        generator(document(), size=size, steps=1)


def test_a_canvas_that_does_not_suit_the_model_only_scales_boxes(generator, caplog):
    for canvas in (Canvas(width=641, height=480), Canvas(width=6400, height=4800)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            [picture] = generator(document(canvas=canvas), steps=1)
        assert picture.image.size == (SIDE, SIDE)
        assert "only scales the boxes" in caplog.text


def test_seeds_end(generator):
    [picture] = generator(document(), seed=2**63 - 1, steps=1)
    assert picture.document.sampling.seed == 2**63 - 1
    with pytest.raises(LavallamaError, match="seed"):
        generator(document(), images=2, seed=2**63 - 1, steps=1)


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"guidance": float("nan")}, {"schedule": (0.5, 0.0, 0.4)}, {"scheduler": "x"}],
)
def test_settings_that_cannot_be(generator, settings):
    with pytest.raises(PromptError):
        generator(document(), **settings)


@pytest.mark.parametrize("counts", [{"images": 0}, {"batch": 0}])
def test_counts_that_cannot_be(generator, counts):
    with pytest.raises(LavallamaError, match="at least 1"):
        generator(document(), **counts)


def test_the_callers_random_state_is_left_alone(generator):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    generator(document(), steps=1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu9"}, "device must be"),
        ({"device": "cuda:99"}, "not on this machine"),
        ({"dtype": "float8"}, "dtype must be"),
        ({"attention": "flash"}, "must be one of"),
        ({"attention": "xformers", "device": "cpu"}, "xformers"),
    ],
)
def test_machines_that_cannot_be(model_folder, options, message):
    with pytest.raises(LavallamaError, match=message):
        Generator.from_pretrained(model_folder, **options)


def test_plain_maths_draws_the_same(generator, model_folder, adapter_folder):
    maths = Generator.from_pretrained(model_folder, adapter_folder, device="cpu", attention="math")
    [a], [b] = generator(document(), steps=STEPS), maths(document(), steps=STEPS)
    assert np.abs(pixels(a).astype(int) - pixels(b).astype(int)).max() <= 1
    assert b.document.provenance is not None
    assert b.document.provenance.attention == "math"


def test_bfloat16(model_folder, adapter_folder):
    half = Generator.from_pretrained(model_folder, adapter_folder, device="cpu", dtype="bfloat16")
    [picture] = half(document(), steps=2)
    assert picture.document.provenance is not None
    assert picture.document.provenance.dtype == "bfloat16"


def test_a_tokenizer_of_another_model(generator):
    class Other:
        model_max_length = 12
        eos_token_id = 3

    with pytest.raises(CheckpointError, match="do not belong together"):
        TextReader(Other(), generator.base.text_encoder)


def test_saved_pictures_carry_their_document(generator, tmp_path):
    [picture] = generator(document("лама 🦙"), steps=1)
    written = picture.save(tmp_path / "deep" / "a.png", tmp_path / "deep" / "a.boxes.png")
    assert [path.name for path in written] == ["a.png", "a.boxes.png", "a.json"]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == sorted(
        path.name for path in written
    )
    assert read_png(written[0]) == picture.document
    with Image.open(written[0]) as image:
        assert np.array_equal(np.asarray(image), pixels(picture))
    record = GroundedPrompt.load(written[2])
    assert record.image == "a.png"
    assert record.files == {"image": "a.png", "overlay": "a.boxes.png"}
    assert not np.array_equal(np.asarray(picture.overlay()), pixels(picture))
    [again] = generator(record)
    assert same(again, picture)
