"""Photos of any size, redrawn inside boxes and kept outside of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from grounding.errors import GeometryError, PromptError
from grounding.picture_file import open_picture
from grounding.prompt import Canvas, GroundedPrompt, Region
from pipelines.generate import main
from pipelines.generation.png import read_png
from pipelines.original import Original
from tests.pipelines.conftest import SIDE

SETTINGS = {"seed": 3, "steps": 2, "schedule": (1.0, 0.0, 0.0), "progress": False}
BOX = (0.3, 0.2, 0.7, 0.6)
OWN = (SIDE, SIDE)
FAR = (72, 64)  # a size that the tiny model can draw, but only if it is asked for
ROTATED_90 = 6  # EXIF's orientation


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    shape = (size[1], size[0], 3)
    return np.random.RandomState(seed).randint(0, 256, shape, dtype=np.uint8)


def save_photo(path: Path, size: tuple[int, int], seed: int = 0) -> str:
    Image.fromarray(noise(size, seed)).save(path)
    return str(path)


def asked(*boxes: tuple[float, float, float, float]) -> GroundedPrompt:
    regions = tuple(Region(phrase="llama", box=box) for box in boxes or (BOX,))
    return GroundedPrompt(prompt="p", regions=regions)


def pixels(picture) -> np.ndarray:
    return np.asarray(picture.image)


def outside(boxes, size: tuple[int, int]) -> np.ndarray:
    """The pixels of (width, height) whose centre lies in no box."""
    columns, rows = ((np.arange(side) + 0.5) / side for side in size)
    free = np.ones((size[1], size[0]), bool)
    for x0, y0, x1, y1 in boxes:
        across, down = (columns >= x0) & (columns < x1), (rows >= y0) & (rows < y1)
        free &= ~(down[:, None] & across)
    return free


@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((640, 480), [(0.1, 0.2, 0.5, 0.9)]),
        ((33, 31), [(0.0, 0.0, 0.5, 0.5), (0.4, 0.4, 1.0, 1.0)]),
        ((31, 150), [(0.0, 0.913, 1.0, 1.0)]),
        ((5, 7), [(0.2, 0.2, 0.9, 0.9)]),
        ((97, 64), [(0.331, 0.217, 0.338, 0.91)]),
    ],
)
@pytest.mark.parametrize("blend", [0, 3])
def test_a_photo_of_any_size_comes_back_with_its_boxes_redrawn(
    generator, tmp_path, size, boxes, blend
):
    photo, before = save_photo(tmp_path / "photo.png", size), noise(size)
    [made] = generator(asked(*boxes), image=photo, blend=blend, **SETTINGS)
    after, kept = pixels(made), outside(boxes, size)
    assert made.image.size == size
    assert made.document.canvas == Canvas(width=size[0], height=size[1])
    assert np.array_equal(after[kept], before[kept])
    assert (after[~kept] != before[~kept]).any(-1).mean() > 0.5


def original(size: tuple[int, int], box, blend: int = 0, before: np.ndarray | None = None):
    return Original(
        pixels=noise(size) if before is None else before,
        free=~outside([box], size),
        latents=torch.zeros(1, 4, 2, 2),
        mask=torch.zeros(1, 1, 2, 2),
        blend=blend,
    )


@st.composite
def boxes(draw: st.DrawFn):
    sides = [sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))) for _ in range(2)]
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    at=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    box=boxes(),
    blend=st.integers(0, 9),
)
def test_outside_of_boxes_no_bit_changes(size, at, box, blend):
    kept = outside([box], size)
    after = np.asarray(original(size, box, blend).composed(Image.fromarray(255 - noise(at))))
    assert np.array_equal(after[kept], noise(size)[kept])


def test_what_is_drawn_lies_where_it_was_drawn():
    ramp = np.linspace(20, 230, 160)
    photo = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:120, None], 128), -1)
    photo = photo.round().astype(np.uint8)
    small = Image.fromarray(photo).resize((40, 32), Image.Resampling.LANCZOS)
    box = (0.5, 0.25, 0.9, 0.8)
    after = np.asarray(original((160, 120), box, before=photo).composed(small))
    assert np.abs(after.astype(int) - photo).max() <= 2


def test_a_rim_is_as_many_pixels_of_the_photo_wide():
    before, white = np.zeros((120, 160, 3), np.uint8), Image.new("RGB", (16, 16), "white")
    after = np.asarray(original((160, 120), (0.25, 0.25, 0.75, 0.75), 8, before).composed(white))
    row = after[60, 40:60, 0].astype(int)
    assert (np.diff(row)[:8] > 0).all()
    assert row[0] < 64
    assert (row[9:] == 255).all()
    assert after[60, 39, 0] == 0


def test_a_photo_of_the_models_size_is_not_scaled(generator, tmp_path, monkeypatch, caplog):
    photo, drawn = save_photo(tmp_path / "photo.png", OWN), []
    compose = Original.composed
    monkeypatch.setattr(
        Original, "composed", lambda self, new: drawn.append(new) or compose(self, new)
    )
    [made] = generator(asked(), image=photo, **SETTINGS)
    kept = outside([BOX], OWN)[..., None]
    assert np.array_equal(pixels(made), np.where(kept, noise(OWN), np.asarray(drawn[0])))
    assert "drawn" not in made.document.provenance.settings
    assert not caplog.text
    [by_hand] = generator(asked(), image=photo, size=OWN, **SETTINGS)
    assert np.array_equal(pixels(made), pixels(by_hand))


@pytest.mark.parametrize(
    ("size", "by_hand", "noted"),
    [
        ((50, 30), None, "48x32"),
        ((400, 200), None, "48x24"),
        (OWN, None, None),
        (FAR, None, "32x32"),
        (FAR, FAR, None),
        ((50, 30), OWN, None),
    ],
)
def test_a_result_is_drawn_again_to_the_bit(generator, tmp_path, size, by_hand, noted):
    photo = save_photo(tmp_path / "photo.png", size)
    [first] = generator(asked(), image=photo, size=by_hand, blend=2, **SETTINGS)
    assert first.document.provenance.settings.get("drawn") == noted
    assert first.image.size == (by_hand or size)
    [_, record] = first.save(tmp_path / "new.png")
    for document in (first.document, GroundedPrompt.load(record)):
        [again] = generator(document, progress=False)
        assert np.array_equal(pixels(again), pixels(first))
        assert again.document.canvas == first.document.canvas
        assert again.document.provenance.settings.get("drawn") == noted


def command(tmp_path: Path, out: str, *options: str) -> np.ndarray:
    arguments = [*options, "--device", "cpu", "--no-overlay", "--out", str(tmp_path / out)]
    assert main(arguments) == 0
    with Image.open(tmp_path / out) as picture:
        return np.asarray(picture)


def test_the_command_draws_a_result_again_and_other_photos_at_their_sizes(
    model_folder, adapter_folder, tmp_path
):
    photo = save_photo(tmp_path / "photo.png", FAR)
    other = save_photo(tmp_path / "other.png", (50, 30), 1)
    model = ["--model", str(model_folder), "--adapter", str(adapter_folder), "--steps", "2"]
    boxes = ["--boxes", f'{{"llama": {list(BOX)}}}', "--prompt", "p"]
    sizes = ["--width", str(FAR[0]), "--height", str(FAR[1])]
    made = [
        command(tmp_path, "a.png", *model, *boxes, "--image", photo, "--strict"),
        command(tmp_path, "b.png", *model, *boxes, "--image", photo, *sizes),
    ]
    assert not np.array_equal(made[0], made[1])  # of one size, drawn at two
    for name, picture in zip("ab", made, strict=True):
        again = ["--from-image", str(tmp_path / f"{name}.png"), "--trust"]
        assert np.array_equal(command(tmp_path, "c.png", *again), picture)
        elsewhere = command(tmp_path, "d.png", *again, "--image", other)
        kept = outside([BOX], (50, 30))
        assert np.array_equal(elsewhere[kept], noise((50, 30), 1)[kept])
        assert read_png(tmp_path / "d.png").provenance.settings["drawn"] == "48x32"


def test_a_photo_that_lies_on_its_side_comes_back_upright(generator, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = ROTATED_90
    Image.fromarray(noise((60, 44))).save(tmp_path / "phone.jpg", exif=exif)
    before = np.asarray(open_picture(tmp_path / "phone.jpg"))
    box = (0.1, 0.6, 0.4, 0.9)
    [made] = generator(asked(box), image=str(tmp_path / "phone.jpg"), **SETTINGS)
    kept = outside([box], (44, 60))
    assert made.image.size == (44, 60)
    assert np.array_equal(pixels(made)[kept], before[kept])
    assert not np.array_equal(pixels(made)[~kept], before[~kept])


def test_photos_of_different_sizes_are_drawn_in_one_batch(generator, tmp_path):
    sizes = [(50, 30), (46, 34)]  # both are drawn at 48x32
    documents = []
    for number, size in enumerate(sizes):
        photo = save_photo(tmp_path / f"{number}.png", size)
        [first] = generator(asked(), image=photo, **SETTINGS)
        documents.append(first.document)
    alone = generator(documents, progress=False)
    together = generator(documents, batch=2, progress=False)
    for size, one, other in zip(sizes, alone, together, strict=True):
        assert one.image.size == other.image.size == size
        assert np.abs(pixels(one).astype(int) - pixels(other)).max() <= 1
    several = generator(documents[0], 2, progress=False)
    assert np.array_equal(pixels(several[0]), pixels(alone[0]))
    assert not np.array_equal(pixels(several[1]), pixels(alone[0]))


def test_a_photo_that_is_drawn_anew_all_over_has_a_size_that_the_model_can_draw(
    generator, tmp_path, caplog
):
    photo = save_photo(tmp_path / "photo.png", (50, 30))
    [made] = generator(asked(), image=photo, strength=0.5, **SETTINGS)
    assert made.image.size == (48, 32)
    assert made.document.canvas == Canvas(width=48, height=32)
    assert "the picture of 50x30 is scaled to 48x32" in caplog.text
    with pytest.raises(PromptError, match="is scaled to 48x32"):
        generator(asked(), image=photo, strength=0.5, strict=True, **SETTINGS)


@pytest.mark.parametrize(
    ("said", "error", "cure"),
    [
        ("many", PromptError, "expected WIDTHxHEIGHT in pixels"),
        (7, PromptError, "expected WIDTHxHEIGHT in pixels"),
        ("47x32", GeometryError, "multiple of 8"),
        ("0x0", GeometryError, "multiple of 8"),
    ],
)
def test_a_size_that_cannot_be_in_a_provenance_is_one_line(generator, tmp_path, said, error, cure):
    photo = save_photo(tmp_path / "photo.png", (50, 30))
    [made] = generator(asked(), image=photo, **SETTINGS)
    provenance = made.document.provenance
    wrong = provenance.replace(settings={**provenance.settings, "drawn": said})
    with pytest.raises(error, match=cure) as caught:
        generator(made.document.replace(provenance=wrong), progress=False)
    assert "\n" not in str(caught.value)
