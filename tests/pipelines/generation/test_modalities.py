"""Reference pictures, keypoints, maps and inpainting, from a document to a picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from gligen.adapter import GligenAdapter
from gligen.config import AdapterConfig, MapConfig
from grounding.errors import CheckpointError, PromptError
from grounding.joints import JOINTS
from grounding.prompt import GroundedPrompt, Maps
from grounding.region import Keypoint, Reference, Region
from pipelines.generate import main
from pipelines.generation.generator import Generator
from pipelines.generation.maps import canny_edges, read_map
from tests.pipelines.conftest import MAX_BOXES, SIDE, WIDTH
from weights.gligen import save_pretrained
from weights.image_encoder import TEXT_NORM, load_image_encoder

BOX = (0.1, 0.1, 0.6, 0.7)
SETTINGS = {"seed": 3, "steps": 2, "schedule": (1.0, 0.0, 0.0)}
TRUNK = {"dims": (4, 8), "depths": (1, 1), "tokens": 4}
CONFIGS = {
    "text_image": {"modality": "text_image"},
    "keypoint": {"modality": "keypoint", "max_persons": 2},
    "canny": {"modality": "canny", "map": MapConfig(**TRUNK)},
    "depth": {"modality": "depth", "map": MapConfig(**TRUNK)},
    "sem": {"modality": "sem", "map": MapConfig(**TRUNK, channels=6, read_channels=6)},
    "text_inpaint": {"inpainting": True},
}


@pytest.fixture(scope="module")
def adapters(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of open, random adapters; the text+image one has an image encoder beside it."""
    folder = tmp_path_factory.mktemp("adapters")
    unet = UNet2DConditionModel.from_pretrained(model_folder / "unet")
    for name, changes in CONFIGS.items():
        widths = {"phrase_dim": WIDTH, "context_dim": WIDTH, "hidden_dim": WIDTH}
        sizes = {"max_boxes": MAX_BOXES, "image_dim": WIDTH, **widths, **changes}
        adapter = GligenAdapter.for_unet(unet, AdapterConfig(**sizes))
        torch.manual_seed(5)
        for parameter in adapter.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        save_pretrained(adapter, folder / name)
    write_image_encoder(folder / "text_image")
    return folder


def write_image_encoder(folder: Path) -> Path:
    """CLIP's image tower with a few parameters, in diffusers' layout."""
    torch.manual_seed(6)
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=16,
        patch_size=8,
        projection_dim=WIDTH,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    (folder / "image_project").mkdir()
    where = folder / "image_project" / "diffusion_pytorch_model.safetensors"
    save_file({"project.weight": torch.randn(WIDTH, WIDTH)}, where)
    return folder


def load(model_folder: Path, adapters: Path, name: str) -> Generator:
    return Generator.from_pretrained(model_folder, adapters / name, device="cpu")


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """A picture of the model's size: noise, with a bright square."""
    pixels = np.random.RandomState(0).randint(0, 80, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[8:20, 4:16] = 240
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def drawn(generator: Generator, document: GroundedPrompt, **changes) -> np.ndarray:
    [picture] = generator(document, **{**SETTINGS, **changes})
    return np.asarray(picture.image)


def test_words_pictures_and_both(model_folder, adapters, photo, tmp_path):
    generator = load(model_folder, adapters, "text_image")
    Image.new("RGB", (40, 24), "green").save(tmp_path / "green.png")
    shown, other = Reference(image=photo), Reference(image=str(tmp_path / "green.png"))
    variants = [
        Region(phrase="llama", box=BOX),
        Region(phrase="llama", box=BOX, reference=shown),
        Region(box=BOX, reference=shown),
        Region(box=BOX, reference=other),
    ]
    pictures = [
        drawn(generator, GroundedPrompt(prompt="p", regions=(one,))).tobytes() for one in variants
    ]
    assert len(set(pictures)) == len(variants)
    document = GroundedPrompt(prompt="p", regions=(variants[1],))
    [made] = generator(document, **SETTINGS)
    assert made.document.regions[0].reference == shown
    assert np.array_equal(np.asarray(generator(made.document)[0].image), np.asarray(made.image))


def test_text_and_image_are_one_guided_call_a_step(model_folder, adapters, photo):
    generator = load(model_folder, adapters, "text_image")
    calls = []
    generator.base.unet.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    region = Region(phrase="llama", box=BOX, reference=Reference(image=photo))
    drawn(generator, GroundedPrompt(prompt="p", regions=(region,)), steps=4)
    assert calls == [2] * 4


def test_a_part_of_the_documents_own_picture_is_a_reference(
    model_folder, adapters, photo, tmp_path
):
    generator = load(model_folder, adapters, "text_image")
    where = Region(id="a", phrase="square", box=(0.125, 0.25, 0.5, 0.625))
    like = Region(id="b", box=BOX, reference=Reference(region="a"))
    document = GroundedPrompt(prompt="p", image=photo, regions=(where, like))
    with Image.open(photo) as picture:
        picture.crop((4, 8, 16, 20)).save(tmp_path / "cut.png")
    cut = like.replace(reference=Reference(image=str(tmp_path / "cut.png")))
    same = document.replace(regions=(where, cut))
    assert np.array_equal(drawn(generator, document), drawn(generator, same))
    with pytest.raises(PromptError, match="names no image"):
        drawn(generator, GroundedPrompt(prompt="p", regions=(where, like)))


def test_features_have_the_length_of_texts(adapters, photo):
    encoder = load_image_encoder(adapters / "text_image")
    with Image.open(photo) as picture:
        feature = encoder(picture)
    assert feature.shape == (1, WIDTH)
    assert feature.norm().item() == pytest.approx(TEXT_NORM, rel=1e-5)
    official = adapters / "text_image"
    projection = encoder.projection.clone()
    (official / "image_project").rename(adapters / "hidden")
    torch.save(projection.T.contiguous(), official / "projection_matrix")
    try:
        assert torch.equal(load_image_encoder(official).projection, projection)
    finally:
        (official / "projection_matrix").unlink()
        with pytest.raises(CheckpointError, match="neither image_project/ nor projection_matrix"):
            load_image_encoder(official)
        (adapters / "hidden").rename(official / "image_project")


def test_reference_pictures_need_an_image_encoder(model_folder, adapters, photo, tmp_path):
    generator = load(model_folder, adapters, "text_image")
    blind = Generator(base=generator.base, adapter=generator.adapter)
    region = Region(box=BOX, reference=Reference(image=photo))
    with pytest.raises(PromptError, match="name one with --image-encoder"):
        blind(GroundedPrompt(prompt="p", regions=(region,)))
    with pytest.raises(CheckpointError, match="has no image encoder"):
        Generator.from_pretrained(
            model_folder, adapters / "text_image", device="cpu", image_encoder=tmp_path
        )


def person(**changes) -> Region:
    joints = [Keypoint(xy=(0.1 + 0.05 * i, 0.3)) for i in range(len(JOINTS))]
    return Region(**{"keypoints": joints, **changes})


def test_keypoints_by_name_or_in_order_and_hidden_ones_count_as_absent(model_folder, adapters):
    generator = load(model_folder, adapters, "keypoint")
    plain = GroundedPrompt(prompt="p")
    whole = plain.replace(regions=(person(),))
    named = [
        Keypoint(xy=point.xy, name=name)
        for name, point in zip(JOINTS, person().keypoints, strict=True)
    ]
    assert not np.array_equal(drawn(generator, plain), drawn(generator, whole))
    mixed = whole.replace(regions=(person(keypoints=named[::-1]),))
    assert np.array_equal(drawn(generator, mixed), drawn(generator, whole))
    hidden = [named[0].replace(visibility=0), *named[1:]]
    absent = whole.replace(regions=(person(keypoints=named[1:]),))
    covered = whole.replace(regions=(person(keypoints=hidden),))
    assert np.array_equal(drawn(generator, covered), drawn(generator, absent))
    assert not np.array_equal(drawn(generator, covered), drawn(generator, whole))


@pytest.mark.parametrize(
    ("joints", "said"),
    [
        ([Keypoint(xy=(0, 0))] * 3, "3 keypoints without names"),
        ([Keypoint(xy=(0, 0), name="tail")], "no joint is called 'tail'"),
    ],
)
def test_joints_that_are_none(model_folder, adapters, joints, said):
    generator = load(model_folder, adapters, "keypoint")
    with pytest.raises(PromptError, match=said):
        generator(GroundedPrompt(prompt="p", regions=(person(keypoints=joints),)))


def test_a_map_guides_and_a_photo_stands_for_its_edges(model_folder, adapters, photo, tmp_path):
    generator = load(model_folder, adapters, "canny")
    with Image.open(photo) as picture:
        Image.fromarray(canny_edges(picture)).save(tmp_path / "edges.png")
    edges = GroundedPrompt(prompt="p", maps=Maps(canny=str(tmp_path / "edges.png")))
    of_photo = GroundedPrompt(prompt="p", image=photo)
    plain = drawn(generator, GroundedPrompt(prompt="p"))
    assert not np.array_equal(drawn(generator, edges), plain)
    assert np.array_equal(drawn(generator, of_photo), drawn(generator, edges))
    [made] = generator(of_photo, **SETTINGS)
    assert np.array_equal(np.asarray(generator(made.document)[0].image), np.asarray(made.image))


def test_maps_have_the_ranges_that_adapters_learnt(tmp_path):
    grey = Image.fromarray(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8))
    grey.save(tmp_path / "grey.png")
    Image.fromarray(np.full((8, 8), 5, np.uint8)).save(tmp_path / "classes.png")
    maps = Maps(**dict.fromkeys(Maps.model_fields, str(tmp_path / "grey.png")))
    document = GroundedPrompt(maps=maps.replace(semantic=str(tmp_path / "classes.png")))
    ranges = {}
    for modality in ("hed", "canny", "depth", "normal"):
        read = read_map(AdapterConfig(modality=modality), document, None, (8, 8))
        assert read is not None
        assert read.shape == (1, 3, 8, 8)
        ranges[modality] = (round(read.min().item(), 2), round(read.max().item(), 2))
    assert ranges["hed"] == ranges["canny"] == (0.0, 0.99)
    assert ranges["depth"] == ranges["normal"] == (-1.0, 0.98)
    sem = AdapterConfig(modality="sem")
    read = read_map(sem, document, None, (16, 8))
    assert read is not None
    assert read.shape == (1, 152, 8, 16)
    assert torch.equal(read.argmax(1), torch.full((1, 8, 16), 5))
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(tmp_path / "classes.png")
    with pytest.raises(PromptError, match="numbered from 0 to 151; got 200"):
        read_map(sem, document, None, (8, 8))


@pytest.mark.parametrize(
    ("name", "wish", "said"),
    [
        (
            "canny",
            {"maps": {"depth": "d.png"}},
            r"a map \(maps.depth\); this adapter draws from a ",
        ),
        ("depth", {"maps": {"semantic": "s.png"}}, "take an adapter for sem, or leave it out"),
        ("keypoint", {"regions": [{"box": BOX, "reference": {"image": "a.png"}}]}, "text_image"),
        ("text_image", {"regions": [{"keypoints": [{"xy": (0, 0)}]}]}, "an adapter for keypoint"),
    ],
)
def test_what_an_adapter_lacks_is_refused_in_one_line(model_folder, adapters, name, wish, said):
    generator = load(model_folder, adapters, name)
    with pytest.raises(PromptError, match=said) as caught:
        generator(GroundedPrompt.model_validate({"prompt": "p", **wish}))
    assert "\n" not in str(caught.value)


def redrawn(photo: str, box: tuple = BOX, **changes) -> GroundedPrompt:
    region = Region(phrase="llama", box=box)
    return GroundedPrompt(prompt="p", image=photo, regions=(region,), **changes)


def test_inpainting_keeps_what_lies_outside_bit_for_bit(model_folder, adapters, photo):
    generator = load(model_folder, adapters, "text_inpaint")
    with Image.open(photo) as picture:
        before = np.asarray(picture)
    box = (0.25, 0.5, 0.75, 0.75)
    after = drawn(generator, redrawn(photo, box))
    inside = np.zeros((SIDE, SIDE), bool)
    inside[16:24, 8:24] = True
    assert np.array_equal(after[~inside], before[~inside])
    assert not np.array_equal(after[inside], before[inside])
    soft = drawn(generator, redrawn(photo, box), blend=3)
    assert np.array_equal(soft[~inside], before[~inside])
    change = np.abs(soft.astype(int) - after.astype(int)).max(-1)
    assert change[16, 8:24].max() > 0
    assert np.abs(soft[16].astype(int) - before[16]).sum() < np.abs(after[16].astype(int) - before[16]).sum()  # noqa: E501  # fmt: skip


def test_inpainting_is_seeded_and_its_result_can_be_drawn_again(
    model_folder, adapters, photo, tmp_path
):
    generator = load(model_folder, adapters, "text_inpaint")
    [first] = generator(redrawn(photo), **SETTINGS, blend=2)
    assert np.array_equal(drawn(generator, redrawn(photo), blend=2), np.asarray(first.image))
    assert not np.array_equal(drawn(generator, redrawn(photo), seed=4), np.asarray(first.image))
    [_, record] = first.save(tmp_path / "new.png")
    for document in (first.document, GroundedPrompt.load(record)):
        [again] = generator(document)
        assert np.array_equal(np.asarray(again.image), np.asarray(first.image))


def test_inpainting_does_not_depend_on_the_batch(model_folder, adapters, photo):
    generator = load(model_folder, adapters, "text_inpaint")
    documents = [redrawn(photo), redrawn(photo, (0.5, 0.5, 1.0, 1.0))]
    alone = [drawn(generator, document) for document in documents]
    reverse = [np.asarray(one.image) for one in generator(documents[::-1], **SETTINGS)][::-1]
    together = [np.asarray(one.image) for one in generator(documents, batch=2, **SETTINGS)]
    for one, other, beside in zip(alone, reverse, together, strict=True):
        assert np.array_equal(one, other)
        assert np.abs(one.astype(int) - beside.astype(int)).max() <= 1


@pytest.mark.parametrize("size", [(48, 24), (24, 48)])
def test_inpainting_pictures_that_are_not_square(model_folder, adapters, tmp_path, size):
    generator = load(model_folder, adapters, "text_inpaint")
    pixels = np.random.RandomState(1).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    after = drawn(generator, redrawn(str(tmp_path / "wide.png"), (0.5, 0.0, 1.0, 0.5)))
    inside = np.zeros(pixels.shape[:2], bool)
    inside[: size[1] // 2, size[0] // 2 :] = True
    assert after.shape == pixels.shape
    assert np.array_equal(after[~inside], pixels[~inside])
    assert (after[inside] != pixels[inside]).mean() > 0.5


@pytest.mark.parametrize("size", [(50, 30), (400, 200)])
def test_inpainting_pictures_of_a_size_that_the_model_cannot_draw(
    model_folder, adapters, tmp_path, size
):
    generator = load(model_folder, adapters, "text_inpaint")
    pixels = np.random.RandomState(1).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "odd.png")
    after = drawn(generator, redrawn(str(tmp_path / "odd.png"), (0.5, 0.0, 1.0, 0.5)))
    inside = np.zeros(pixels.shape[:2], bool)
    inside[: size[1] // 2, size[0] // 2 :] = True
    assert after.shape == pixels.shape
    assert np.array_equal(after[~inside], pixels[~inside])
    assert (after[inside] != pixels[inside]).any(-1).mean() > 0.9


def test_inpainting_needs_a_picture_and_boxes(model_folder, adapters, photo):
    generator = load(model_folder, adapters, "text_inpaint")
    with pytest.raises(PromptError, match="the document names none: give its image"):
        generator(GroundedPrompt(prompt="p", regions=(Region(phrase="llama", box=BOX),)))
    with pytest.raises(PromptError, match="the document has none; give some"):
        generator(GroundedPrompt(prompt="p", image=photo))
    with pytest.raises(PromptError, match="no such file"):
        generator(redrawn("gone.png"))


def test_any_adapter_for_boxes_redraws_a_picture_when_it_is_asked_to(generator, photo):
    with Image.open(photo) as picture:
        before = np.asarray(picture)
    box, inside = (0.25, 0.5, 0.75, 0.75), np.zeros((SIDE, SIDE), bool)
    inside[16:24, 8:24] = True
    plain = redrawn(photo, box).replace(image=None)
    after = drawn(generator, plain, image=photo)
    assert np.array_equal(after[~inside], before[~inside])
    assert not np.array_equal(after[inside], before[inside])
    assert np.array_equal(after, drawn(generator, plain, image=photo))
    assert not np.array_equal(after, drawn(generator, plain, image=photo, seed=4))
    assert not np.array_equal(after, drawn(generator, plain, image=photo, blend=3))
    elsewhere = plain.replace(regions=(Region(phrase="llama", box=(0.0, 0.0, 0.3, 0.3)),))
    together = generator([elsewhere, plain], image=photo, batch=2, **SETTINGS)
    assert np.abs(np.asarray(together[1].image).astype(int) - after).max() <= 1
    with pytest.raises(PromptError, match="the document has none; give some"):
        generator(GroundedPrompt(prompt="p"), image=photo)


def test_a_box_without_words_is_drawn_as_what_lies_behind(generator, photo):
    with Image.open(photo) as picture:
        before = np.asarray(picture)
    silent = GroundedPrompt(prompt="p", regions=(Region(box=BOX),))
    after = drawn(generator, silent, image=photo, strict=True)
    assert not np.array_equal(after, before)
    assert not np.array_equal(after, drawn(generator, redrawn(photo), image=photo, strict=True))


def test_a_documents_own_picture_is_not_redrawn_but_a_redrawn_one_is_again(
    generator, photo, tmp_path
):
    plain = redrawn(photo).replace(image=None)
    nothing = drawn(generator, plain)
    assert np.array_equal(drawn(generator, redrawn(photo)), nothing)
    [first] = generator(plain, image=photo, **SETTINGS)
    [_, record] = first.save(tmp_path / "new.png")
    for document in (first.document, GroundedPrompt.load(record)):
        [again] = generator(document)
        assert np.array_equal(np.asarray(again.image), np.asarray(first.image))
    segmented = first.document.replace(image=photo, files={})  # as of a result that names a picture
    assert np.array_equal(drawn(generator, segmented), nothing)


def test_adapters_without_boxes_start_from_no_picture(model_folder, adapters, photo):
    for name in ("keypoint", "depth"):
        with pytest.raises(PromptError, match="this model starts from no picture"):
            load(model_folder, adapters, name)(redrawn(photo), image=photo)
    plain = Generator.from_pretrained(model_folder, device="cpu")
    with pytest.raises(PromptError, match="this model starts from no picture"):
        plain(GroundedPrompt(prompt="p"), image=photo)


def test_the_command_takes_references_maps_and_pictures(
    model_folder, adapters, photo, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    boxes = f'[{{"phrase": "llama", "box": {list(BOX)}}}]'
    model = ["--model", str(model_folder), "--device", "cpu", "--steps", "1", "--prompt", "p"]
    runs = {
        "text_image": ["--boxes", boxes, "--reference", f"r1={photo}"],
        "depth": ["--map", f"depth={photo}"],
        "canny": ["--image", photo],
        "text_inpaint": ["--boxes", boxes, "--image", photo, "--blend", "2"],
    }
    for name, options in runs.items():
        out = ["--out", f"{name}.png", "--adapter", str(adapters / name)]
        assert main([*model, *options, *out]) == 0, capsys.readouterr().err
        assert Path(f"{name}.png").is_file()
    capsys.readouterr()
    wrong = [
        ("depth", ["--image", photo], "starts from no picture"),
        ("text_image", ["--boxes", boxes, "--reference", f"r9={photo}"], "no region has the id"),
        ("depth", ["--map", "depth=gone.png"], "no such file"),
    ]
    for name, options, said in wrong:
        assert main([*model, *options, "--adapter", str(adapters / name)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
