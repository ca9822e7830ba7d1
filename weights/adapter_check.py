"""Is this a complete, consistent text-box adapter, and of what sizes?

Shapes are checked against the symbolic ones of `weights.keymap` (C channels, D token width ...):
the first tensor binds a symbol, all others must agree.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from grounding.errors import CheckpointError
from weights.keymap import (
    BOX_FIELD_SHAPES,
    FIELD_FEATURE_SHAPES,
    GATE_SHAPES,
    POSITION_FEATURE_SHAPES,
    POSITION_NET_SHAPES,
    gate_of,
    name_some,
)

__all__ = ["check_levels", "compare", "infer_config", "refuse_other_modalities"]

VALUES_PER_FREQUENCY = 8  # sine and cosine of the four coordinates of a box
INPAINTING_CHANNELS = 9  # latents, known latents, mask
ATTENTION = re.compile(r"^(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.|^mid_block\.attentions\.0\.")


def refuse_other_modalities(shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Recognise GLIGEN's other modalities by their keys.

    Args:
        shapes: Name inside the UNet -> shape.
        path: What is being read, for the message.

    Raises:
        CheckpointError: It is one of them.
    """
    modality = _other_modality(shapes)
    if modality is not None:
        raise CheckpointError(
            f"{path}: a GLIGEN checkpoint for {modality}: only text boxes are supported so far"
        )


def _other_modality(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    if "position_net.null_text_feature" in shapes:
        return "text and image boxes (text_image)"
    if "position_net.null_person_feature" in shapes:
        return "keypoints (keypoint)"
    if "position_net.in_conv.weight" in shapes:
        return "semantic maps (sem)"
    if "position_net.pos_embedding" in shapes:
        first = shapes.get("downsample_net.layers.0.weight")
        if first is None:
            return "HED edge maps (hed)"
        return "normal maps (normal)" if first[1] == 3 else "edge or depth maps (canny, depth)"
    for name in ("input_blocks.0.0.weight", "conv_in.weight"):
        if name in shapes and shapes[name][1] == INPAINTING_CHANNELS:
            return "inpainting with text boxes (text_inpaint)"
    return None


def infer_config(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """Check a canonical state dict and read the adapter's sizes from it.

    Returns:
        Keyword arguments of `AdapterConfig`.

    Raises:
        CheckpointError: Parameters are missing, unknown, or of inconsistent shapes.
    """
    gates: dict[str, dict[str, str]] = defaultdict(dict)
    tokenizer: dict[str, str] = {}
    box_field: dict[str, str] = {}
    unknown = []
    for key in state:
        gate = gate_of(key)
        if gate is not None:
            gates[gate[0]][gate[1]] = key
        elif key.startswith("position_net."):
            tokenizer[key.removeprefix("position_net.")] = key
        elif key.startswith("box_field."):
            box_field[key.removeprefix("box_field.")] = key
        else:
            unknown.append(key)
    position_features = any("position.weight" in names for names in gates.values())
    expected = {
        **GATE_SHAPES,
        **(POSITION_FEATURE_SHAPES if position_features else {}),
        **(FIELD_FEATURE_SHAPES if box_field else {}),
    }
    missing = [f"position_net.{name}" for name in POSITION_NET_SHAPES if name not in tokenizer]
    unknown += [key for name, key in tokenizer.items() if name not in POSITION_NET_SHAPES]
    if box_field:
        missing += [f"box_field.{name}" for name in BOX_FIELD_SHAPES if name not in box_field]
        unknown += [key for name, key in box_field.items() if name not in BOX_FIELD_SHAPES]
    for block, names in gates.items():
        missing += [f"{block}.fuser.{name}" for name in expected if name not in names]
        unknown += [key for name, key in names.items() if name not in expected]
    if not gates:
        missing.append("every gate (*.fuser.*)")
    _complain(source, missing, unknown)
    sizes = _bind(state, tokenizer, POSITION_NET_SHAPES, {}, source)
    field = _bind(state, box_field, BOX_FIELD_SHAPES, sizes, source) if box_field else {"G": 0}
    for names in gates.values():
        # Width of tokens and of positions are one for all gates, the others a gate's own.
        shared = {"D": sizes["D"], "E": sizes["E"]}
        _bind(state, names, expected, shared, source)
    if sizes["E"] % VALUES_PER_FREQUENCY:
        raise CheckpointError(
            f"{source}: position_net.null_position_feature has {sizes['E']} values, expected a "
            f"multiple of {VALUES_PER_FREQUENCY}"
        )
    return {
        "modality": "text",
        "phrase_dim": sizes["P"],
        "context_dim": sizes["D"],
        "hidden_dim": sizes["H"],
        "frequencies": sizes["E"] // VALUES_PER_FREQUENCY,
        "position_features": position_features,
        "field_dim": field["G"],
    }


def _bind(
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    shapes: Mapping[str, tuple[str, ...]],
    bound: Mapping[str, int],
    source: str,
) -> dict[str, int]:
    """Give every symbol the size that its first tensor has; all others must agree."""
    sizes = dict(bound)
    for name, symbols in shapes.items():
        key, shape = names[name], tuple(state[names[name]].shape)
        if len(shape) == len(symbols):
            for symbol, size in zip(symbols, shape, strict=True):
                if "+" not in symbol:
                    sizes.setdefault(symbol, size)
            wanted = tuple(sum(sizes[part] for part in symbol.split("+")) for symbol in symbols)
        else:
            wanted = symbols
        if shape != wanted:
            raise CheckpointError(f"{source}: {key} has shape {shape}, expected {wanted}")
    return sizes


def check_levels(names: Iterable[str], layers: int, source: str) -> None:
    """Check that a level of the UNet has all of its gates or none, on both sides.

    Args:
        names: Canonical names.
        layers: Residual layers in a down level; an up level has one more.
        source: What is being read, for the message.

    Raises:
        CheckpointError: A whole gate is missing.
    """
    places: dict[tuple[str, int], set[int]] = defaultdict(set)
    middle = False
    for name in names:
        match = ATTENTION.match(name)
        if match is not None and match[1] is None:
            middle = True
        elif match is not None:
            places[match[1], int(match[2])].add(int(match[3]))
    missing = [] if middle else ["mid_block.attentions.0"]
    for (side, level), found in places.items():
        expected = range(layers if side == "down" else layers + 1)
        missing += [f"{side}_blocks.{level}.attentions.{p}" for p in expected if p not in found]
    if missing:
        raise CheckpointError(f"{source}: no gates in {name_some(missing)}")
    downs = sum(side == "down" for side, _ in places)
    if 2 * downs != len(places):
        raise CheckpointError(
            f"{source}: gates in {downs} levels down and {len(places) - downs} up, expected as "
            "many: is the file complete?"
        )


def compare(state: Mapping[str, Tensor], reference: Mapping[str, Tensor], source: str) -> None:
    """Compare names and shapes with those of the model that is to hold them.

    Raises:
        CheckpointError: Something is missing, left over, or of the wrong shape.
    """
    _complain(source, reference.keys() - state.keys(), state.keys() - reference.keys())
    for key in sorted(reference):
        if state[key].shape != reference[key].shape:
            raise CheckpointError(
                f"{source}: {key} has shape {tuple(state[key].shape)}, expected "
                f"{tuple(reference[key].shape)}"
            )


def _complain(source: str, missing: Iterable[str], unknown: Iterable[str]) -> None:
    missing, unknown = list(missing), list(unknown)
    problems = []
    if missing:
        problems.append(f"missing {name_some(missing)}")
    if unknown:
        problems.append(f"unknown {name_some(unknown)}")
    if problems:
        raise CheckpointError(f"{source}: not a complete adapter: {'; '.join(problems)}")
