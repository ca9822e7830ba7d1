"""Which tensors of a checkpoint are an adapter's, and what they are called inside lavallama."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from grounding.errors import CheckpointError
from weights import adapter_check, keymap
from weights.keymap import name_some
from weights.left_out import IGNORED
from weights.tensor_file import TensorFile

__all__ = ["CONFIG_DICT", "canonical_names", "said_modality"]

CONFIG_DICT = "config_dict"  # in an official file: what it was trained with
TARGET_PATTERN = re.compile(r"\b(canny|depth)_grounding")

# Parts of a base that stand beside its UNet. None of them belongs to an adapter.
BESIDE_THE_UNET = (
    "autoencoder.",
    "text_encoder.",
    "first_stage_model.",
    "cond_stage_model.",
    "conditioner.",
)


def canonical_names(file: TensorFile) -> dict[str, str]:
    """Map every adapter key of a file to its canonical name; account for every other key.

    Returns:
        Key in the file -> canonical name.

    Raises:
        CheckpointError: No adapter is in there, or keys are unknown or missing.
    """
    prefix = _unet_prefix(file)
    inner = {
        key[len(prefix) :]: key
        for key in file.shapes
        if key.startswith(prefix) and not _is_beside(key)
    }
    widened = _reads_more_than_latents({k: file.shapes[v] for k, v in inner.items()})
    layers = _layers(inner)
    names, unknown = {}, []
    for key, whole in inner.items():
        first = key.startswith((keymap.OFFICIAL_FIRST, keymap.CANONICAL_FIRST))
        if keymap.is_adapter_key(key) or (first and widened):
            official = key.startswith(("input_blocks.", "middle_block.", "output_blocks."))
            names[whole] = keymap.canonical_adapter_key(key, layers) if official else key
        elif not IGNORED.search(key) and not keymap.is_base_key(key, layers):
            unknown.append(whole)
    unknown += [key for key in file.shapes if not key.startswith(prefix) and not _is_beside(key)]
    if unknown:
        raise CheckpointError(f"{file.path}: unknown parameters {name_some(unknown)}")
    ungated = {key.split(".attn1.")[0] for key in inner if ".attn1." in key} - {
        key.split(".fuser.")[0] for key in inner if ".fuser." in key
    }
    if ungated:
        raise CheckpointError(f"{file.path}: no gates in {name_some(ungated)}")
    if any(key.startswith(("input_blocks.", "output_blocks.")) for key in inner):
        adapter_check.check_levels(names.values(), layers, str(file.path))
    return names


def _is_beside(key: str) -> bool:
    return key.startswith(BESIDE_THE_UNET) or IGNORED.search(key) is not None


def _reads_more_than_latents(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the first convolution, if there is one, is a widened one, which an adapter owns."""
    ends = (("input_blocks.0.0.weight", "out.2.weight"), ("conv_in.weight", "conv_out.weight"))
    for first, last in ends:
        if first in shapes:
            return last not in shapes or shapes[first][1:2] != shapes[last][:1]
    return False


def _unet_prefix(file: TensorFile) -> str:
    """Find what stands before the UNet's names: `model.diffusion_model.`, `model.` or nothing."""
    for prefix in keymap.OFFICIAL_PREFIXES:
        if any(key.startswith(f"{prefix}position_net.") for key in file.shapes):
            return prefix
    fusers = any(".fuser." in key for key in file.shapes)
    missing = "position_net.*" if fusers else "GLIGEN's gates (*.fuser.*) and position_net.*"
    raise CheckpointError(f"{file.path}: not a GLIGEN adapter: {missing} missing")


def _layers(keys: Mapping[str, str]) -> int:
    """Layers per level, from where the first downsampler of an official UNet stands."""
    downs = [int(key.split(".")[1]) for key in keys if key.endswith(".0.op.weight")]
    return min(downs) - 1 if downs else keymap.SD1.layers


def said_modality(file: TensorFile) -> str | None:
    """Read off an official file's configuration whether it is for canny or depth, if it says so.

    Only the names of the classes that read the grounding are looked at, wherever they stand.
    """
    waiting: list[Any] = [file.extra.get(CONFIG_DICT)]
    said = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif isinstance(value, str) and (match := TARGET_PATTERN.search(value)):
            said.add(match[1])
    return said.pop() if len(said) == 1 else None
