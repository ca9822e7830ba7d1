"""T2I-Adapter checkpoints: diffusers' folder, its file alone, and the authors' files.

(Mou et al., "T2I-Adapter", arXiv 2302.08453.) The sizes of a file without a config are read off its
shapes. The authors number all residual blocks in a row, two to a level:

    body.{2 i + j}.{block1, block2}       adapter.body.{i}.resnets.{j}.{block1, block2}
    body.{2 i}.in_conv                    adapter.body.{i}.in_conv
    body.{i}.body.{j}.{block1, block2}    adapter.body.{i}.resnets.{j}.{...}      ("light" ones)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.adapter import T2IAdapter

from grounding.errors import CheckpointError
from weights.components import fill, read_config, read_folder
from weights.part import Shapes, numbered
from weights.tensor_file import TensorFile

__all__ = ["is_t2i_adapter", "load_t2i_adapter", "widths_of"]

PREFIX = "adapter."
FIRST, LIGHT_FIRST = "conv_in.weight", "body.0.in_conv.weight"
LIGHT_ADAPTER = "light_adapter"
BLOCKS = 2  # residual blocks of a level: nums_rb in the authors' code
OFFICIAL = re.compile(r"^body\.(?P<block>\d+)\.(?P<rest>(block[12]|in_conv)\..+)$")
LIGHT = re.compile(r"^body\.(?P<level>\d+)\.body\.(?P<block>\d+)\.(?P<rest>.+)$")
# Channels that the first convolution reads -> channels of the map, pixels of a cell's side, and
# whether it is SDXL's: the map is folded into cells first (pixel unshuffle).
FOLDED = {64: (1, 8, False), 192: (3, 8, False), 256: (1, 16, True), 768: (3, 16, True)}


def is_t2i_adapter(shapes: Shapes) -> bool:
    """Say whether a file holds a T2I-Adapter, by its names."""
    names = {key.removeprefix(PREFIX) for key in shapes}
    return any(re.match(r"body\.0\.(block1|resnets\.0|body\.0)\.", name) for name in names)


def load_t2i_adapter(
    name: str,
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> T2IAdapter:
    """Load a T2I-Adapter, strictly.

    Args:
        name: What the user called it, for messages.
        path: A folder in diffusers' layout, or a file in either.
        device: Where it is to be.
        dtype: Of its parameters.

    Raises:
        CheckpointError: It is none, or damaged.
    """
    place = {"device": device, "dtype": dtype}
    if path.is_dir():
        state = read_folder(path, half=dtype != torch.float32)
        return fill(_make(read_config(path / "config.json")), state, name, **place)
    file = TensorFile(path)
    inner = {key: key.removeprefix(PREFIX) for key in file.shapes}
    in_a_row = "body.0.block1.weight" in inner.values()
    names = {key: _diffusers_name(old, in_a_row) for key, old in inner.items()}
    shapes = {new: file.shapes[key] for key, new in names.items()}
    read = file.read()
    state = {f"{PREFIX}{new}": read[key] for key, new in names.items()}
    return fill(_make(_infer_config(name, shapes)), state, name, **place)


def widths_of(model: T2IAdapter) -> list[int]:
    """Channels of the features of each level."""
    widths = list(model.config["channels"])
    return [*widths, widths[-1]] if model.config["adapter_type"] == LIGHT_ADAPTER else widths


def _make(config: Mapping[str, Any]) -> T2IAdapter:
    values = {key: value for key, value in config.items() if not key.startswith("_")}
    with init_empty_weights(include_buffers=False):
        model = T2IAdapter.from_config(values)
    assert isinstance(model, T2IAdapter)
    return model


def _diffusers_name(name: str, numbered_in_a_row: bool) -> str:
    """A name of the authors' in diffusers; names of diffusers stay as they are."""
    if light := LIGHT.match(name):
        return f"body.{light['level']}.resnets.{light['block']}.{light['rest']}"
    official = OFFICIAL.match(name)
    if official is None or not numbered_in_a_row:
        return name
    level, block = divmod(int(official["block"]), BLOCKS)
    if official["rest"].startswith("in_conv."):
        return f"body.{level}.{official['rest']}"
    return f"body.{level}.resnets.{block}.{official['rest']}"


def _infer_config(name: str, shapes: Shapes) -> dict[str, Any]:
    light = FIRST not in shapes
    folded = shapes.get(LIGHT_FIRST if light else FIRST, (0, 0))[1]
    if folded not in FOLDED:
        raise CheckpointError(
            f"{name}: not a T2I-Adapter of a known kind: expected {FIRST} or {LIGHT_FIRST} to read "
            f"{', '.join(map(str, FOLDED))} channels"
        )
    channels, cell, large = FOLDED[folded]
    levels = range(numbered(shapes, "body."))
    last = "out_conv.weight" if light else "resnets.0.block1.weight"
    widths = [shapes.get(f"body.{level}.{last}", (0,))[0] for level in levels]
    kind = "full_adapter_xl" if large else "full_adapter"
    return {
        "in_channels": channels,
        "channels": widths[:-1] if light else widths,  # diffusers' last light level is a copy
        "num_res_blocks": numbered(shapes, "body.0.resnets."),
        "downscale_factor": cell,
        "adapter_type": LIGHT_ADAPTER if light else kind,
    }
