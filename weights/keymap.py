"""Names of parameters: official GLIGEN and LDM on one side, diffusers (ours) on the other.

A block of the official UNet (`openai_unet` of latent-diffusion, which GLIGEN extends) is found by
its running number, a block of diffusers' UNet by its level and its place in the level. With
`layers` residual layers a level:

    input_blocks.{1 + level * (layers + 1) + place}.{0, 1}  down_blocks.{level}.{resnets, attentions}.{place}
    input_blocks.{(level + 1) * (layers + 1)}.0.op          down_blocks.{level}.downsamplers.0.conv
    middle_block.{0, 1, 2}                                  mid_block.{resnets.0, attentions.0, resnets.1}
    output_blocks.{level * (layers + 1) + place}.{0, 1}     up_blocks.{level}.{resnets, attentions}.{place}
    output_blocks.{level * (layers + 1) + layers}.{1, 2}    up_blocks.{level}.upsamplers.0

Inside a transformer block the names are the same on both sides, so gates (`...fuser.*`) and the
tokenizer (`position_net.*`) need no table of their own. **Canonical** names, used everywhere in
lavallama, are diffusers' names of gates and tokenizer, `downsample_net.*` and, if it is widened,
`conv_in.*`, and nothing else.

In every table `None` means: known, and deliberately ignored.
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from grounding.errors import CheckpointError

__all__ = [
    "CANONICAL_FIRST",
    "GATE_SHAPES",
    "GATE_SUFFIXES",
    "OFFICIAL_FIRST",
    "OFFICIAL_PREFIXES",
    "SD1",
    "UNetLayout",
    "canonical_adapter_key",
    "gate_of",
    "is_adapter_key",
    "is_base_key",
    "name_some",
    "official_adapter_key",
    "rename",
    "rename_all",
    "unet_table",
]

GATE_SHAPES: dict[str, tuple[str, ...]] = {
    "alpha_attn": (),
    "alpha_dense": (),
    "linear.bias": ("C",),
    "linear.weight": ("C", "D"),
    "norm1.weight": ("C",),
    "norm1.bias": ("C",),
    "norm2.weight": ("C",),
    "norm2.bias": ("C",),
    "attn.to_q.weight": ("I", "C"),
    "attn.to_k.weight": ("I", "C"),
    "attn.to_v.weight": ("I", "C"),
    "attn.to_out.0.weight": ("C", "I"),
    "attn.to_out.0.bias": ("C",),
    "ff.net.2.weight": ("C", "F"),
    "ff.net.2.bias": ("C",),
    "ff.net.0.proj.weight": ("F+F", "C"),
    "ff.net.0.proj.bias": ("F+F",),
}
"""The 17 parameters of a gate: C channels, D token width, I attention width, F hidden width."""

GATE_SUFFIXES = frozenset(GATE_SHAPES)
OFFICIAL_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "")
"""What may stand before the official names, longest first."""

SAME_NAMES = ("position_net.", "downsample_net.")
OFFICIAL_FIRST, CANONICAL_FIRST = "input_blocks.0.0.", "conv_in."
"""The first convolution: an adapter's if it is widened, else the base's."""

RESNET_NAMES = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
STEM_NAMES = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
GATE_PATTERN = re.compile(r"^(?P<block>.+\.transformer_blocks\.\d+)\.fuser\.(?P<suffix>.+)$")
OFFICIAL_ATTENTION = re.compile(
    r"^(input_blocks\.(\d+)\.1|middle_block\.1|output_blocks\.(\d+)\.1)\."
)
TRANSFORMER_REST = re.compile(
    r"^\.(norm|proj_in|proj_out|transformer_blocks\.\d+\."
    r"(attn[12]\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2)|norm[123]))\.(weight|bias)$"
)
CANONICAL_ATTENTION = re.compile(
    r"^(?:(down|up)_blocks\.(\d+)\.attentions\.(\d+)|mid_block\.attentions\.0)\."
)


@dataclass(frozen=True, kw_only=True)
class UNetLayout:
    """What the official numbering depends on.

    Attributes:
        attended: For each down level, from the largest picture on, whether it has attention.
        layers: Residual layers in a down level (an up level has one more).
    """

    attended: tuple[bool, ...] = (True, True, True, False)
    layers: int = 2

    @classmethod
    def of(cls, config: Mapping) -> UNetLayout:
        """Read the layout from the config of a diffusers UNet.

        Raises:
            CheckpointError: The official UNet cannot express this config.
        """
        down = ["CrossAttn" in name for name in config["down_block_types"]]
        up = ["CrossAttn" in name for name in config["up_block_types"]]
        layers = config.get("layers_per_block", 2)
        if up[::-1] != down or not isinstance(layers, int):
            raise CheckpointError(
                "the official layout needs up blocks that mirror the down blocks and one number of "
                f"layers per block, got {list(config['down_block_types'])}, "
                f"{list(config['up_block_types'])} and {layers}: use layout 'lavallama'"
            )
        return cls(attended=tuple(down), layers=layers)


SD1 = UNetLayout()
"""Stable Diffusion 1.x and 2.x."""


def is_adapter_key(key: str) -> bool:
    """Say whether a key (in any naming) belongs to a gate or to the grounding tokenizer."""
    return ".fuser." in key or key.startswith(SAME_NAMES)


def gate_of(key: str) -> tuple[str, str] | None:
    """Split a gate's key into the path of its transformer block and the suffix in the gate.

    Returns:
        `(block, suffix)`, or None when the key is not a gate's.
    """
    match = GATE_PATTERN.match(key)
    return (match["block"], match["suffix"]) if match else None


def canonical_adapter_key(key: str, layers: int = SD1.layers) -> str:
    """Turn the official name of a gate or tokenizer parameter into the canonical one.

    Args:
        key: An official name without `model.` before it.
        layers: Residual layers in a down level of the UNet.

    Raises:
        CheckpointError: The key is of no part of an adapter.
    """
    if key.startswith(SAME_NAMES):
        return key
    if key.startswith(OFFICIAL_FIRST):
        return CANONICAL_FIRST + key.removeprefix(OFFICIAL_FIRST)
    match = OFFICIAL_ATTENTION.match(key)
    if match is None or gate_of(key) is None:
        raise CheckpointError(f"expected the official name of a gate or of position_net, got {key}")
    rest = key[match.end() :]
    if match[2] is not None:
        level, place = divmod(int(match[2]) - 1, layers + 1)
        if place < layers:
            return f"down_blocks.{level}.attentions.{place}.{rest}"
        raise CheckpointError(
            f"{key} has a gate where a UNet with {layers} layers per level has a downsampler"
        )
    if match[3] is not None:
        level, place = divmod(int(match[3]), layers + 1)
        return f"up_blocks.{level}.attentions.{place}.{rest}"
    return f"mid_block.attentions.0.{rest}"


def official_adapter_key(key: str, layers: int = SD1.layers) -> str:
    """Turn a canonical name into the official one; the inverse of `canonical_adapter_key`.

    Raises:
        CheckpointError: The official naming has no place for this key.
    """
    if key.startswith(SAME_NAMES):
        return key
    if key.startswith(CANONICAL_FIRST):
        return OFFICIAL_FIRST + key.removeprefix(CANONICAL_FIRST)
    match = CANONICAL_ATTENTION.match(key)
    gate = gate_of(key)
    if match is None or gate is None or gate[1] not in GATE_SUFFIXES:
        raise CheckpointError(
            f"the official naming has no place for {key}: write it with layout 'lavallama'"
        )
    rest = key[match.end() :]
    if match[1] is None:
        return f"middle_block.1.{rest}"
    level, place = int(match[2]), int(match[3])
    limit = layers if match[1] == "down" else layers + 1
    if place >= limit:
        raise CheckpointError(f"a UNet with {layers} layers per level has no {key}")
    if match[1] == "down":
        return f"input_blocks.{1 + level * (layers + 1) + place}.1.{rest}"
    return f"output_blocks.{level * (layers + 1) + place}.1.{rest}"


def unet_table(layout: UNetLayout = SD1) -> dict[str, str]:
    """List every module of a plain UNet: official prefix -> diffusers prefix.

    The table is one to one, so its inverse is the way back.
    """
    step, levels = layout.layers + 1, len(layout.attended)
    table = dict(STEM_NAMES)

    def resnet(official: str, diffusers: str) -> None:
        table.update({f"{official}.{a}": f"{diffusers}.{b}" for a, b in RESNET_NAMES.items()})

    for level, attended in enumerate(layout.attended):
        for place in range(layout.layers):
            here, there = f"input_blocks.{1 + level * step + place}", f"down_blocks.{level}"
            resnet(f"{here}.0", f"{there}.resnets.{place}")
            if attended:
                table[f"{here}.1"] = f"{there}.attentions.{place}"
        if level < levels - 1:
            table[f"input_blocks.{(level + 1) * step}.0.op"] = (
                f"down_blocks.{level}.downsamplers.0.conv"
            )
    resnet("middle_block.0", "mid_block.resnets.0")
    table["middle_block.1"] = "mid_block.attentions.0"
    resnet("middle_block.2", "mid_block.resnets.1")
    for level, attended in enumerate(reversed(layout.attended)):
        for place in range(step):
            here, there = f"output_blocks.{level * step + place}", f"up_blocks.{level}"
            resnet(f"{here}.0", f"{there}.resnets.{place}")
            if attended:
                table[f"{here}.1"] = f"{there}.attentions.{place}"
        if level < levels - 1:
            last = f"output_blocks.{level * step + layout.layers}.{2 if attended else 1}.conv"
            table[last] = f"up_blocks.{level}.upsamplers.0.conv"
    return table


def is_base_key(key: str, layers: int = SD1.layers) -> bool:
    """Say whether a key names a parameter of a plain UNet, in official or diffusers naming.

    UNets of up to four levels, with attention anywhere.
    """
    head, rest = key, ""
    prefixes = _any_unet_prefix(layers)
    while head and head not in prefixes:
        head = head.rpartition(".")[0]
        rest = key[len(head) :]
    if not head:
        return False
    return rest in (".weight", ".bias") or (
        prefixes[head] and TRANSFORMER_REST.match(rest) is not None
    )


@cache
def _any_unet_prefix(layers: int) -> dict[str, bool]:
    """Every module prefix of UNets with this many layers -> whether it is a transformer's."""
    prefixes: dict[str, bool] = {}
    for levels in range(1, 5):
        for attended in (True, False):
            table = unet_table(UNetLayout(attended=(attended,) * levels, layers=layers))
            for official, diffusers in table.items():
                attention = ".attentions." in diffusers
                prefixes[official] = prefixes.get(official, False) or attention
                prefixes[diffusers] = prefixes.get(diffusers, False) or attention
    return prefixes


def rename(
    key: str, table: Mapping[str, str | None] | Mapping[str, str], source: str
) -> str | None:
    """Rename one key by the longest prefix (in whole dotted parts) that the table knows.

    Args:
        key: The name to translate.
        table: Prefix -> prefix; None for what is ignored.
        source: What is being read, for the message.

    Returns:
        The new name, or None when the key is to be ignored.

    Raises:
        CheckpointError: The table says nothing about the key.
    """
    head = key
    while head:
        if head in table:
            new = table[head]
            return None if new is None else new + key[len(head) :]
        head = head.rpartition(".")[0]
    raise CheckpointError(
        f"{source}: unknown parameter {key}: is it a checkpoint of another model?"
    )


def rename_all(
    keys: Iterable[str], table: Mapping[str, str | None] | Mapping[str, str], source: str
) -> dict[str, str]:
    """Rename every key as `rename` does, those to be ignored left out: key -> new name."""
    renamed = {key: rename(key, table, source) for key in keys}
    return {key: name for key, name in renamed.items() if name is not None}


def name_some(keys: Iterable[str], limit: int = 3) -> str:
    """Name the first few of many keys, for a message of one line."""
    ordered = sorted(keys)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more
