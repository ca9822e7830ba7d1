import json
import logging
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file
from torch import Tensor

from grounding.errors import CheckpointError, OutputError
from seem.backbones import DaViTConfig, FocalNetConfig, NanoDetConfig, SamViTConfig
from seem.config import CONFIGS, SeemConfig
from seem.model import build_seem
from tests.seem.tiny import REFINED, TINY_NANODET, TINY_REFINER
from tests.weights.tiny import same
from weights import seem, seem_keys

KEYS: dict[str, dict[str, list[int]]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "seem_keys.json").read_text()
)
PREDICTOR = "sem_seg_head.predictor."
SMALL = replace(  # heads of 64 channels and all else that an official file cannot say
    CONFIGS["tiny"], dim=64, heads=1, text_width=64, text_heads=1, max_prompt_pixels=512
)
BACKBONES = {
    "focal": SMALL.backbone,
    "plain": FocalNetConfig(
        dim=16, depths=(1, 2, 1, 1), focal_levels=4, focal_window=5, block="plain", stem_padding=2
    ),
    "davit": DaViTConfig(
        dims=(32, 32, 64, 64), heads=(1, 1, 2, 2), depths=(1, 2, 1, 1), patch_kernel=3
    ),
    "sam": SamViTConfig(
        dim=64,
        depth=3,
        heads=2,
        global_blocks=(1,),
        window=3,
        image_size=64,
        channels=(32, 32, 32, 64),
    ),
    "nanodet": NanoDetConfig(stem=16, blocks=(1, 2, 1, 3), neck=8, classes=3),
}


@cache
def state_of(config: SeemConfig) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return dict(build_seem(config).state_dict())


def small(name: str = "focal") -> SeemConfig:
    config = replace(SMALL, backbone=BACKBONES[name])
    if name != "sam":
        return config
    return replace(config, pixel_decoder="deformable", heads=2, text_heads=1)


def official(config: SeemConfig = SMALL) -> dict[str, Tensor]:
    return {seem_keys.official_key(key): value for key, value in state_of(config).items()}


@pytest.mark.parametrize("name", KEYS)
def test_every_official_model_is_recognised_by_its_keys_and_shapes(name):
    shapes = {
        seem_keys.our_key(key): tuple(shape)
        for key, shape in KEYS[name].items()
        if not seem_keys.is_ignored(key)
    }
    config = seem_keys.infer_config(shapes, name)
    assert config == CONFIGS[name.split("_")[0]]
    with torch.device("meta"):
        state = build_seem(config).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == shapes
    back = {seem_keys.official_key(key) for key in state} | {seem_keys.MORPHOLOGY_BUFFER}
    assert back | {seem_keys.LOSS_BUFFER} == set(KEYS[name]) | {seem_keys.LOSS_BUFFER}


@pytest.mark.parametrize("layout", ["lavallama", "official"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_both_layouts_round_trip_bit_for_bit(tmp_path, backbone, dtype, layout):
    config = small(backbone)
    state = {key: value.to(dtype) for key, value in state_of(config).items()}
    # A name that lies: what is in a file decides.
    where = seem.write_seem(state, config, tmp_path / "seem_samvitl_v2.pt", layout=layout)
    read, found = seem.read_seem(where)
    assert found == config
    assert same(read, state)


@pytest.mark.parametrize(("grouping", "buffers"), [("demo", 1), ("v0", 2), ("v1", 2)])
def test_an_official_file_has_exactly_the_official_keys(tmp_path, grouping, buffers):
    config = replace(SMALL, grouping=grouping)
    where = seem.write_seem(state_of(SMALL), config, tmp_path / "a.pt", layout="official")
    written = torch.load(where, weights_only=True)
    added = written.keys() - official().keys()
    names = {seem_keys.MORPHOLOGY_BUFFER, seem_keys.LOSS_BUFFER}
    assert len(added) == buffers
    assert added <= names
    for name in added:
        assert list(written[name].shape) == KEYS["focalt_v0"][name]
    like = KEYS[f"focalt_{grouping}"]
    assert names & written.keys() == names & like.keys()
    assert f"{PREDICTOR}mask_sptial_embed.2" in written


def test_the_caller_says_how_queries_are_grouped(tmp_path):
    state = state_of(SMALL)
    config = replace(SMALL, grouping="v0")
    file = seem.write_seem(state, config, tmp_path / "a.pt", layout="official")
    folder = seem.write_seem(state, config, tmp_path / "own")
    assert seem.read_seem(file)[1].grouping == "v1"
    assert seem.read_seem(file, grouping="demo")[1].grouping == "demo"
    assert seem.read_seem(folder)[1].grouping == "v0"
    assert seem.read_seem(folder / "model.safetensors", grouping="v1")[1].grouping == "v1"


@pytest.mark.parametrize("prefix", ["module.", "model."])
def test_wrappers_around_the_state_dict_are_seen_through(tmp_path, prefix):
    wrapped = {f"{prefix}{key}": value for key, value in official().items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "a.pt")
    save_file(wrapped, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        assert same(seem.read_seem(tmp_path / name)[0], state_of(SMALL))


@torch.no_grad()
def test_a_loaded_model_computes_what_the_saved_one_did(tmp_path):
    model = build_seem(CONFIGS["tiny"]).eval()
    where = seem.write_seem(model.state_dict(), model.config, tmp_path / "own")
    loaded = seem.load_seem(where).eval()
    assert loaded.config == model.config
    pixels = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    one, other = model.encode_image(pixels), loaded.encode_image(pixels)
    assert torch.equal(one.mask_features, other.mask_features)
    assert torch.equal(one.keys[-1], other.keys[-1])
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def xdecoder() -> dict[str, Tensor]:
    state = {
        seem_keys.official_key(key): value
        for key, value in state_of(SMALL).items()
        if not key.startswith(seem_keys.SEEM_ONLY)
    }
    state[f"{PREDICTOR}caping_embed"] = torch.zeros(64, 64)
    state[f"{PREDICTOR}pos_embed_caping.weight"] = torch.zeros(16, 64)
    state[f"{PREDICTOR}self_attn_mask"] = torch.zeros(1, 28, 28, dtype=torch.bool)
    return state


def test_an_xdecoder_loads_and_says_in_one_line_what_it_lacks(tmp_path, caplog):
    torch.save(xdecoder(), tmp_path / "x.pt")
    with caplog.at_level(logging.WARNING, logger="weights.seem"):
        model = seem.load_seem(tmp_path / "x.pt")
    [message] = [record.getMessage() for record in caplog.records]
    assert "\n" not in message
    assert "decoder.pn_indicator.*" in message
    loaded = model.state_dict()
    for key, value in state_of(SMALL).items():
        if not key.startswith(seem_keys.SEEM_ONLY):
            assert torch.equal(loaded[key], value), key
    assert loaded["decoder.spatial_featured.weight"].std() > 0.1
    assert same(seem.load_seem(tmp_path / "x.pt").state_dict(), loaded)


def spoilt(change: str) -> dict[str, Tensor]:
    state = official()
    if change == "missing":
        del state["backbone.norm1.bias"]
    elif change == "half of the spatial parts missing":
        del state[f"{PREDICTOR}pn_indicator.weight"]
    elif change == "unknown":
        state[f"{PREDICTOR}other"] = torch.zeros(1)
    elif change == "foreign":
        state["optimizer.step"] = torch.zeros(1)
    elif change == "shape":
        state["backbone.norm1.bias"] = torch.zeros(5)
    elif change == "gap":
        state[f"{PREDICTOR}transformer_ffn_layers.999999999.norm.bias"] = torch.zeros(64)
    elif change == "no anchor":
        del state[f"{PREDICTOR}class_embed"]
    elif change == "two models":
        state[f"ema.{PREDICTOR}class_embed"] = torch.zeros(64, 64)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"missing backbone\.norm1\.bias$"),
        ("half of the spatial parts missing", r"missing decoder\.pn_indicator\.weight$"),
        ("unknown", r"unknown decoder\.other$"),
        ("foreign", r"unknown parameters optimizer\.step$"),
        ("shape", r"backbone\.norm1\.bias has shape \(5,\), expected \(32,\)"),
        ("gap", r"cannot tell which SEEM this is \(.*999999999"),
        ("no anchor", r"not a SEEM checkpoint: expected one key .*class_embed, found none"),
        ("two models", r"found .*class_embed, ema\."),
    ],
)
def test_what_is_no_complete_seem_is_refused_in_one_line(tmp_path, change, message):
    torch.save(spoilt(change), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        seem.read_seem(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


def test_our_folder_must_be_of_one_piece(tmp_path):
    folder = seem.write_seem(state_of(SMALL), SMALL, tmp_path / "own")
    text = (folder / "config.json").read_text()

    def says(change: str, message: str) -> None:
        (folder / "config.json").write_text(change)
        with pytest.raises(CheckpointError, match=message):
            seem.read_seem(folder)

    says(text.replace('"queries": 12', '"queries": 13'), "queries not as in the weights")
    says(text.replace('"layers": 3', '"layers": 999999999'), "layers not as in the weights")
    says(text.replace('"kind": "focalnet"', '"kind": "resnet"'), "resnet")
    says(text.replace('"grouping": "v1"', '"grouping": "v9"'), "v9")
    says(text.replace("lavallama-seem", "other"), 'expected "format": "lavallama-seem"')
    says("[", "expected a JSON object")
    (folder / "config.json").write_text(text)
    weights = load((folder / "model.safetensors").read_bytes())
    weights["decoder.class_embed"][0, 0] += 1
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="sha256"):
        seem.read_seem(folder)


def test_what_the_official_layout_cannot_say_is_not_written(tmp_path):
    tiny = CONFIGS["tiny"]
    with pytest.raises(CheckpointError, match="cannot say heads, max_prompt_pixels, text_heads"):
        seem.write_seem(state_of(tiny), tiny, tmp_path / "a.pt", layout="official")
    assert not any(tmp_path.iterdir())


def test_a_model_with_a_refiner_has_our_layout_alone(tmp_path):
    config = replace(small("nanodet"), refiner=TINY_REFINER)
    state = {key: value.half() for key, value in state_of(config).items()}
    folder = seem.write_seem(state, config, tmp_path / "own")
    read, found = seem.read_seem(folder)
    assert found == config
    assert same(read, state)
    assert same(dict(seem.load_seem(folder).state_dict()), state)
    with pytest.raises(CheckpointError, match="layout 'official' cannot say refiner: only"):
        seem.write_seem(state, config, tmp_path / "a.pt", layout="official")
    assert not (tmp_path / "a.pt").exists()


def test_a_refiner_is_read_strictly(tmp_path):
    folder = seem.write_seem(state_of(REFINED), REFINED, tmp_path / "own")
    text = (folder / "config.json").read_text()
    values = json.loads(text)

    def says(message: str, **changes: object) -> None:
        changed = {**values, "config": {**values["config"], **changes}}
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(CheckpointError, match=message):
            seem.read_seem(folder)

    refiner, backbone = values["config"]["refiner"], values["config"]["backbone"]
    says("unknown refiner", refiner=None)
    says(r"refiner\.\S+ has shape", refiner={**refiner, "looks": 7})
    says("a RefinerConfig has no depth", refiner={**refiner, "depth": 1})
    says(r"refiner\.coarse\S+ has shape", queries_per_object=5)
    says(r"backbone\.heads\S+ has shape", backbone={**backbone, "classes": 6})
    (folder / "config.json").write_text(text)
    state = dict(state_of(REFINED))
    del state["refiner.sharpness"]
    with pytest.raises(CheckpointError, match=r"missing refiner\.sharpness"):
        seem.write_seem(state, REFINED, tmp_path / "other")


def test_a_detector_is_recognised_by_its_shapes():
    shapes = {key: tuple(value.shape) for key, value in state_of(REFINED).items()}
    assert seem_keys.infer_config(shapes, "x").backbone == TINY_NANODET


def test_only_a_whole_model_is_written_and_only_where_it_can_be(tmp_path):
    state = dict(state_of(SMALL))
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="expected a folder"):
        seem.write_seem(state, SMALL, tmp_path / "taken")
    with pytest.raises(CheckpointError, match="expected a layout of lavallama, official"):
        seem.write_seem(state, SMALL, tmp_path / "a", layout="comfyui")  # type: ignore[arg-type]
    del state["decoder.class_embed"]
    with pytest.raises(CheckpointError, match=r"the model: .*missing decoder\.class_embed"):
        seem.write_seem(state, SMALL, tmp_path / "own")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
