"""Pictures brought to a model: regions, caches, maps, mirrors."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gligen.config import AdapterConfig, MapConfig
from grounding.drops import Drops
from grounding.prompt import Canvas, GroundedPrompt, Keypoint, Maps, Region
from pipelines.generation.frame import Frame
from pipelines.generation.maps import read_map
from pipelines.training.gligen.cache import Cache
from pipelines.training.gligen.prepare import Preparer
from pipelines.training.sources import Found
from weights.base import load_base

TEXT = AdapterConfig(max_boxes=3)


@pytest.fixture(scope="module")
def base(model_folder):
    return load_base(model_folder)


class Bench:
    """A preparer, and what it says of one picture."""

    def __init__(self, base, folder, config=TEXT, flips=True):
        self.base, self.drops = base, Drops()
        self.preparer = Preparer(
            config=config,
            buckets=((48, 24), (32, 32)),
            vae=base.vae,
            vae_digest="vae",
            cache=Cache(folder / "cache"),
            flips=flips,
        )

    def one(self, document, picture):
        file = io.BytesIO()
        picture.save(file, "PNG")
        data = file.getvalue() if picture.size != (1, 1) else b"no picture"
        found = Found(name="a.png", document=lambda: document, read=lambda: data)
        return self.preparer([found], self.drops)


def photo(size=(64, 64), seed=0):
    chance = np.random.default_rng(seed)
    return Image.fromarray(chance.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def boxes(*found):
    return GroundedPrompt(regions=tuple(Region(phrase="dog", box=box) for box in found))


def entries(bench, kind):
    return sorted((bench.preparer.cache.folder / kind).rglob("*.*"))


def test_regions_are_kept_as_gligen_keeps_them(base, tmp_path):
    bench = Bench(base, tmp_path)
    large = [(0, 0, 0.5 + i / 10, 0.5) for i in range(4)]
    nameless = Region(box=(0, 0, 0.4, 0.4))
    document = boxes((0, 0, 0.09, 0.1), *large)
    document = document.replace(regions=[*document.regions, nameless.replace(id="n")])
    [one] = bench.one(document, photo())
    assert [region.box for region in one.document.regions] == [
        pytest.approx(box) for box in large[1:]
    ]
    assert bench.drops.report() == {
        "pictures": 1,
        "regions": 3,
        "dropped_pictures": {},
        "dropped_regions": {
            "a box under 1% of the picture": 1,
            "no phrase": 1,
            "beyond the 3 largest boxes": 1,
        },
        "such_as": {
            "a box under 1% of the picture": ["a.png"],
            "no phrase": ["a.png"],
            "beyond the 3 largest boxes": ["a.png"],
        },
    }
    assert "dropped 1 regions: no phrase (such as a.png)" in bench.drops.lines()


def test_of_equal_regions_no_more_are_kept(base, tmp_path):
    [one] = Bench(base, tmp_path).one(boxes(*[(0, 0, 0.5, 0.5)] * 5), photo())
    assert len(one.document.regions) == 3


def test_boxes_follow_the_picture_onto_its_bucket(base, tmp_path):
    bench = Bench(base, tmp_path)
    document = boxes((0, 0, 0.5, 1), (0.9, 0, 1, 1))
    [wide] = bench.one(document, photo((300, 100)))  # 72x24 on 48x24: a sixth is cut off a side
    assert wide.size == (48, 24)
    [region] = wide.document.regions
    assert region.box == pytest.approx((0, 0, 0.5, 1))
    assert bench.drops.lost_regions == {"no box on the picture": 1}


@pytest.mark.parametrize(
    ("document", "picture", "reason"),
    [
        (boxes((0, 0, 1, 1)), Image.new("RGB", (1, 1)), "a picture that cannot be read"),
        (boxes((0, 0, 0.01, 0.01)), photo(), "nothing to ground is left"),
        (
            boxes((0, 0, 1, 1)).replace(canvas=Canvas(width=64, height=32)),
            photo(),
            "a picture of another shape than its document says",
        ),
    ],
)
def test_pictures_that_are_no_use_are_counted(base, tmp_path, document, picture, reason):
    bench = Bench(base, tmp_path)
    assert bench.one(document, picture) == []
    assert bench.drops.lost_pictures == {reason: 1}


def test_a_truncated_picture_is_dropped(base, tmp_path):
    bench = Bench(base, tmp_path)
    file = io.BytesIO()
    photo().save(file, "PNG")
    data = file.getvalue()[:3000]
    found = Found(name="cut.png", document=lambda: boxes((0, 0, 1, 1)), read=lambda: data)
    assert bench.preparer([found], bench.drops) == []
    assert bench.drops.lost_pictures == {"a picture that cannot be read": 1}


def test_a_second_start_reads_the_cache(base, tmp_path, monkeypatch):
    bench = Bench(base, tmp_path)
    [one] = bench.one(boxes((0, 0, 1, 1)), photo())
    first = bench.preparer.latents(one, flip=False)
    assert first.shape == (1, 4, 8, 8)
    assert len(entries(bench, "latents")) == 2  # and mirrored
    again = Bench(base, tmp_path)
    monkeypatch.setattr("pipelines.training.gligen.prepare.open_picture", None)  # not even decoded
    [same] = again.one(boxes((0, 0, 1, 1)), photo())
    assert torch.equal(again.preparer.latents(same, flip=False), first)


def test_a_changed_picture_is_encoded_anew(base, tmp_path):
    bench = Bench(base, tmp_path, flips=False)
    [one] = bench.one(boxes((0, 0, 1, 1)), photo())
    [other] = bench.one(boxes((0, 0, 1, 1)), photo(seed=1))
    assert len(entries(bench, "latents")) == 2
    a, b = (bench.preparer.latents(each, flip=False) for each in (one, other))
    assert not torch.equal(a, b)


def test_mirrored_latents_are_of_the_mirrored_picture(base, tmp_path):
    bench = Bench(base, tmp_path)
    [one] = bench.one(boxes((0, 0, 0.5, 1)), photo())
    mirrored = photo().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    [other] = bench.one(boxes((0, 0, 0.5, 1)), mirrored)
    a = bench.preparer.latents(one, flip=True)
    assert torch.allclose(a, bench.preparer.latents(other, flip=False), atol=2e-2)
    [region] = bench.preparer.request(one, flip=True).regions
    assert region.box == pytest.approx((0.5, 0, 1, 1))


def test_joints_are_kept_for_keypoints(base, tmp_path):
    config = AdapterConfig(modality="keypoint", max_persons=2)
    bench = Bench(base, tmp_path, config)
    joints = (Keypoint(xy=(0.5, 0.5), name="nose"), Keypoint(xy=(0.01, 0.5), name="left_eye"))
    document = GroundedPrompt(regions=(Region(keypoints=joints), Region(box=(0, 0, 1, 1))))
    [one] = bench.one(document, photo((300, 100)))
    [person] = one.document.regions
    assert [joint.visibility for joint in person.keypoints] == [2, 0]  # one was cut off
    assert bench.drops.lost_regions == {"no joints on the picture": 1}


def map_config(modality):
    sizes = {"canny": MapConfig(), "normal": MapConfig(read_channels=3), "depth": MapConfig()}
    return AdapterConfig(modality=modality, map=sizes[modality])


def test_edges_are_those_of_the_picture(base, tmp_path):
    bench = Bench(base, tmp_path, map_config("canny"))
    [one] = bench.one(GroundedPrompt(prompt="noise"), photo())
    plain, mirrored = (
        read_map(bench.preparer.config, bench.preparer.request(one, flip=flip), None, one.size)
        for flip in (False, True)
    )
    assert plain.shape == (1, 3, 32, 32)
    assert set(plain.unique().tolist()) == {0.0, 1.0}
    assert (plain.flip(-1) == mirrored).float().mean() > 0.7


def test_given_maps_are_mirrored_with_their_picture(base, tmp_path):
    bench = Bench(base, tmp_path, map_config("normal"))
    normals = np.zeros((64, 64, 3), np.uint8)
    normals[:, :32] = (255, 128, 255)  # facing right, on the left half
    path = tmp_path / "normal.png"
    Image.fromarray(normals).save(path)
    document = GroundedPrompt(prompt="a ball", maps=Maps(normal=str(path)))
    [one] = bench.one(document, photo())
    request = bench.preparer.request(one, flip=True)
    drawn = read_map(bench.preparer.config, request, None, one.size)
    assert drawn[0, 0, :, 20:].mean() < -0.9  # facing left, on the right half
    assert bench.one(GroundedPrompt(prompt="no map"), photo()) == []
    assert bench.drops.lost_pictures == {"no map (maps.normal)": 1}
    path.unlink()
    assert bench.one(document, photo(seed=1)) == []
    assert bench.drops.lost_pictures["a map or reference that cannot be read"] == 1


def test_references_are_cut_out_of_the_picture(base, tmp_path):
    config = AdapterConfig(modality="text_image", max_boxes=3)
    bench = Bench(base, tmp_path, config)
    [one] = bench.one(boxes((0.25, 0.5, 0.75, 1)), photo((32, 32)))
    for flip in (False, True):
        [region] = bench.preparer.request(one, flip=flip).regions
        with Image.open(region.reference.image) as cut:
            shown = np.asarray(cut)
        picture = np.asarray(photo((32, 32)))[:, :: -1 if flip else 1]
        assert np.array_equal(shown, picture[16:32, 8:24])


def test_the_frame_of_the_model_is_divided_by_the_buckets(base):
    assert Frame.of(base.unet, base.vae).multiple == 8
