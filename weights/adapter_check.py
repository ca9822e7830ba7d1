"""Is this a complete, consistent adapter, of which modality and of what sizes?

Shapes are checked against the symbolic ones of `weights.adapter_shapes` and `weights.keymap`: the
first tensor binds a symbol, all others must agree.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gligen.config import BOX_MODALITIES, MAPS, MapConfig, Modality
from grounding.errors import CheckpointError
from weights.adapter_shapes import (
    BOX_FIELD_SHAPES,
    FIELD_FEATURE_SHAPES,
    FIRST_CONV_SHAPES,
    POSITION_FEATURE_SHAPES,
    downsampler_shapes,
    possible_modalities,
    tokenizer_shapes,
)
from weights.keymap import CANONICAL_FIRST, GATE_SHAPES, gate_of, name_some

__all__ = ["check_levels", "compare", "infer_config"]

PHRASE_SIZES = {"P": "phrase_dim", "V": "image_dim"}
ATTENTION = re.compile(r"^(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.|^mid_block\.attentions\.0\.")


def infer_config(
    state: Mapping[str, Tensor],
    source: str,
    *,
    modality: str | None = None,
    depths: Sequence[int] = MapConfig().depths,
) -> dict[str, Any]:
    """Check a canonical state dict and read the adapter's sizes from it.

    Args:
        state: Canonical names -> tensors.
        source: What is being read, for messages.
        modality: What the adapter is said to be; needed where keys do not tell (canny, depth).
        depths: Blocks in the stages of what reads a map.

    Returns:
        Keyword arguments of `AdapterConfig`.

    Raises:
        CheckpointError: Parameters are missing, unknown, or of inconsistent shapes.
    """
    kind = _modality(state, source, modality)
    parts = _parts(state)
    gates, unknown = parts.gates, parts.unknown
    has_field, inpainting = bool(parts.box_field), kind in BOX_MODALITIES and bool(parts.first)
    position_features = any("position.weight" in names for names in gates.values())
    expected = {
        **GATE_SHAPES,
        **(POSITION_FEATURE_SHAPES if position_features else {}),
        **(FIELD_FEATURE_SHAPES if has_field else {}),
    }
    tokenizer, downsampler = tokenizer_shapes(kind, depths), downsampler_shapes(kind)
    first = FIRST_CONV_SHAPES if inpainting or kind in MAPS else {}
    wanted = (
        ("position_net", tokenizer, parts.tokenizer),
        ("box_field", BOX_FIELD_SHAPES if has_field and kind == "text" else {}, parts.box_field),
        ("downsample_net", downsampler, parts.downsampler),
        ("conv_in", first, parts.first),
    )
    missing = []
    for head, shapes, names in wanted:
        missing += [f"{head}.{name}" for name in shapes if name not in names]
        unknown += [key for name, key in names.items() if name not in shapes]
    for block, names in gates.items():
        missing += [f"{block}.fuser.{name}" for name in expected if name not in names]
        unknown += [key for name, key in names.items() if name not in expected]
    if not gates:
        missing.append("every gate (*.fuser.*)")
    _complain(source, missing, unknown)
    sizes: dict[str, int] = {}
    for _, shapes, names in wanted:
        sizes = _bind(state, names, shapes, sizes, source)
    # Width of tokens and of positions are one for all gates, the others a gate's own.
    shared = {symbol: sizes[symbol] for symbol in ("D", "E") if symbol in sizes}
    for names in gates.values():
        _bind(state, names, expected, shared, source)
    return {
        "modality": kind,
        "inpainting": inpainting,
        "context_dim": sizes["D"],
        "hidden_dim": sizes["H"],
        "position_features": position_features,
        "field_dim": sizes.get("G", 0),
        "map": _map_config(kind, sizes, tuple(depths)) if kind in MAPS else None,
        **_box_sizes(kind, sizes, source),
        **({"max_persons": sizes["K"]} if kind == "keypoint" else {}),
    }


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """An adapter's keys by part: name inside the part -> key."""

    gates: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    tokenizer: dict[str, str] = field(default_factory=dict)
    box_field: dict[str, str] = field(default_factory=dict)
    downsampler: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def _parts(state: Mapping[str, Tensor]) -> _Parts:
    parts = _Parts()
    heads = {
        "position_net.": parts.tokenizer,
        "box_field.": parts.box_field,
        "downsample_net.": parts.downsampler,
        CANONICAL_FIRST: parts.first,
    }
    for key in state:
        gate = gate_of(key)
        head = next((head for head in heads if key.startswith(head)), None)
        if gate is not None:
            parts.gates[gate[0]][gate[1]] = key
        elif head is not None:
            heads[head][key.removeprefix(head)] = key
        else:
            parts.unknown.append(key)
    return parts


def _modality(state: Mapping[str, Tensor], source: str, said: str | None) -> Modality:
    """The modality that the keys tell, or, where they tell two, the one that is said."""
    possible = possible_modalities({key: tuple(value.shape) for key, value in state.items()})
    if said is None and len(possible) == 1:
        return possible[0]
    names = " or ".join(possible)
    if said is None:
        raise CheckpointError(
            f"{source}: adapters for {names} have the same keys, and nothing in the file says "
            "which this is: name the modality"
        )
    for one in possible:
        if one == said:
            return one
    raise CheckpointError(f"{source}: expected an adapter for {said}, its keys are for {names}")


def _box_sizes(kind: str, sizes: Mapping[str, int], source: str) -> dict[str, int]:
    """Widths of phrases, pictures and coordinates, where there are any."""
    found = {name: sizes[symbol] for symbol, name in PHRASE_SIZES.items() if symbol in sizes}
    symbol, name, values = ("X", "xy", 4) if kind == "keypoint" else ("E", "position", 8)
    if kind in MAPS:
        return found
    if sizes[symbol] % values:
        raise CheckpointError(
            f"{source}: position_net.null_{name}_feature has {sizes[symbol]} values, expected a "
            f"multiple of {values}"
        )
    return {**found, "frequencies": sizes[symbol] // values}


def _map_config(kind: str, sizes: Mapping[str, int], depths: tuple[int, ...]) -> MapConfig:
    custom = MAPS[kind]
    return MapConfig(
        channels=sizes.get("M", custom.channels),
        tokens=sizes["T"],
        dims=tuple(sizes[f"B{stage}"] for stage in range(len(depths))),
        depths=depths,
        read_channels=sizes.get("M", custom.read_channels),
        hidden_channels=sizes.get("U", 0),
        extra_channels=sizes.get("X", custom.extra_channels),
    )


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
                if symbol.isalnum() and not symbol.isdigit():
                    sizes.setdefault(symbol, size)
            wanted = tuple(_value(symbol, sizes) for symbol in symbols)
        else:
            wanted = symbols
        if shape != wanted:
            raise CheckpointError(f"{source}: {key} has shape {shape}, expected {wanted}")
    return sizes


def _value(symbols: str, sizes: Mapping[str, int]) -> int:
    """The number that a sum of symbols and digits stands for."""
    parts = symbols.split("+")
    return sum(int(part) if part.isdigit() else sizes[part] for part in parts)


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
