"""ControlNet checkpoints for a UNet: of diffusers, of the authors, and control-LoRAs.

| layout             | names                                                                  |
|--------------------|------------------------------------------------------------------------|
| diffusers          | a folder with its config; or its file alone                            |
| authors, ComfyUI   | `control_model.input_blocks.*`, or without the prefix; a whole Stable  |
|                    | Diffusion may lie beside it (`control_sd15_canny.pth`) and is left out |
| control-LoRA       | `lora_controlnet`, and `X.up`, `X.down` in the place of matrices       |

A ControlNet is a copy of its UNet's encoder, so what a file without a config does not tell is read
off that UNet; a smaller copy (of SDXL: "mid", "small") shows in its names. A control-LoRA is

    W  ->  W + up down        with W the UNet's own matrix

(stabilityai/control-lora on the hub); other tensors of it stand in the place of the UNet's.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from grounding.errors import CheckpointError
from weights.components import fill, read_config, read_folder
from weights.families import CONTEXTS, CONTROLNET, describe, name_base
from weights.keymap import UNetLayout, rename_all, unet_table
from weights.part import Shapes, numbered
from weights.tensor_file import TensorFile

__all__ = ["check_config", "load_controlnet"]

PREFIX = "control_model."
OFFICIAL_HINT, DIFFUSERS_HINT = "input_hint_block.0.weight", "controlnet_cond_embedding.conv_in."
COND = "controlnet_cond_embedding"
MARK = "lora_controlnet"  # an empty tensor that says: a control-LoRA
UP, DOWN = ".up", ".down"
UNION = ("control_type_proj.", "task_embedding", "control_add_embedding.")  # of several maps
SHARED = ("cross_attention_dim", "block_out_channels", "layers_per_block")
READS_TEXT = re.compile(r"\.attn2\.to_k\.(weight|down)$")


def load_controlnet(
    name: str,
    path: Path,
    unet: UNet2DConditionModel,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ControlNetModel:
    """Load a ControlNet, strictly.

    Args:
        name: What the user called it, for messages.
        path: A folder in diffusers' layout, or a file in any.
        unet: What it must fit; a control-LoRA takes matrices of it.
        device: Where it is to be.
        dtype: Of its parameters.

    Raises:
        CheckpointError: Not a ControlNet, damaged, or made for another kind of model.
    """
    place = {"device": device, "dtype": dtype}
    if path.is_dir():
        model = check_config(name, read_config(path / "config.json"), unet)
        state = read_folder(path, half=dtype != torch.float32)
        return fill(model, state, name, **place)
    file = TensorFile(path)
    names = _diffusers_names(name, file.shapes, unet)
    shapes = {new: file.shapes[key] for key, new in names.items()}
    width = next((shape[-1] for key, shape in shapes.items() if READS_TEXT.search(key)), None)
    if width not in (None, unet.config["cross_attention_dim"]):
        raise _of_another(name, unet, width, "cross_attention_dim")
    model = _make(_infer_config(shapes, unet.config))
    read = file.read(names)
    state = {new: read[key] for key, new in names.items()}
    if any(key.endswith(UP) for key in state):
        state = _complete(name, state, model.state_dict().keys(), unet)
    return fill(model, state, name, **place)


def check_config(
    name: str, config: Mapping[str, Any], unet: UNet2DConditionModel
) -> ControlNetModel:
    """Check that a ControlNet in diffusers' layout fits a UNet; return it without parameters.

    Raises:
        CheckpointError: It does not.
    """
    model = _make(config)
    for key in SHARED:
        theirs, ours = model.config[key], unet.config[key]
        if _plain(theirs) != _plain(ours):
            raise _of_another(name, unet, model.config["cross_attention_dim"], key)
    return model


def _make(config: Mapping[str, Any]) -> ControlNetModel:
    with init_empty_weights(include_buffers=False):
        model = ControlNetModel.from_config(
            {key: value for key, value in config.items() if not key.startswith("_")}
        )
    assert isinstance(model, ControlNetModel)
    return model


def _of_another(
    name: str, unet: UNet2DConditionModel, width: int | None, key: str
) -> CheckpointError:
    theirs, ours = CONTEXTS.get(width or 0), name_base(unet.config)
    if theirs in (None, ours):
        theirs, ours = f"a UNet of another {key}", f"one of {unet.config[key]}"
    return CheckpointError(
        f"{name}: this ControlNet is for {theirs}, and the model is {ours}; take one made for it"
    )


def _diffusers_names(name: str, shapes: Shapes, unet: UNet2DConditionModel) -> dict[str, str]:
    """Names of a ControlNet's tensors in a file -> in diffusers; a control-LoRA's keep their ends.

    Raises:
        CheckpointError: It is no ControlNet, or a tensor of it is unknown.
    """
    inner = {key.removeprefix(PREFIX): key for key in shapes if key.startswith(PREFIX)}
    inner = inner or {key: key for key in shapes}
    inner.pop(MARK, None)
    if any(key.startswith(UNION) for key in inner):
        raise CheckpointError(
            f"{name}: a ControlNet for several kinds of maps (union) is not supported: take one "
            "made for one kind"
        )
    if any(key.startswith(DIFFUSERS_HINT) for key in inner):
        return {key: new for new, key in inner.items()}
    if OFFICIAL_HINT not in inner:
        what = describe(shapes) or "a file of another kind"
        but = what if what.startswith(CONTROLNET) else f"not a ControlNet, but {what}"
        raise CheckpointError(
            f"{name}: is {but}: expected {OFFICIAL_HINT}* (with or without {PREFIX} before it) or "
            f"{DIFFUSERS_HINT}*"
        )
    layers = unet.config["layers_per_block"]
    starts = [1 + level * (layers + 1) for level in range(len(unet.config["block_out_channels"]))]
    attended = tuple(any(key.startswith(f"input_blocks.{i}.1.") for key in inner) for i in starts)
    table = unet_table(UNetLayout(attended=attended, layers=layers)) | _control_table(inner)
    return {inner[old]: new for old, new in rename_all(inner, table, name).items()}


def _control_table(names: Iterable[str]) -> dict[str, str]:
    """What a ControlNet has beside its UNet: official prefix -> diffusers' prefix."""
    names = list(names)
    hints = sorted({int(key.split(".")[1]) for key in names if key.startswith("input_hint_block.")})
    table = {f"input_hint_block.{i}": f"{COND}.blocks.{n}" for n, i in enumerate(hints[1:-1])}
    table |= {f"input_hint_block.{hints[0]}": f"{COND}.conv_in"}
    table |= {f"input_hint_block.{hints[-1]}": f"{COND}.conv_out"}
    table["middle_block_out.0"] = "controlnet_mid_block"
    for i in range(numbered(names, "zero_convs.")):
        table[f"zero_convs.{i}.0"] = f"controlnet_down_blocks.{i}"
    return table


def _infer_config(shapes: Shapes, unet: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a ControlNet: its UNet's, and what its own names and shapes tell."""
    known = inspect.signature(ControlNetModel.__init__).parameters
    config = {key: value for key, value in unet.items() if key in known}
    levels = range(len(unet["block_out_channels"]))
    attends = [any(k.startswith(f"down_blocks.{i}.attentions.") for k in shapes) for i in levels]
    usual = unet["transformer_layers_per_block"]
    usual = [usual] * len(levels) if isinstance(usual, int) else list(usual)
    blocks = "attentions.0.transformer_blocks."
    depths = [numbered(shapes, f"down_blocks.{i}.{blocks}") or usual[i] for i in levels]
    middle = any(key.startswith("mid_block.attentions.") for key in shapes)
    convs = [f"{COND}.conv_in.weight"]
    convs += [f"{COND}.blocks.{i}.weight" for i in range(1, len(shapes), 2)]
    return {
        **config,
        "in_channels": shapes.get("conv_in.weight", (0, config["in_channels"]))[1],
        "down_block_types": [f"{'CrossAttn' if one else ''}DownBlock2D" for one in attends],
        "transformer_layers_per_block": depths,
        "mid_block_type": f"UNetMidBlock2D{'CrossAttn' if middle else ''}",
        "conditioning_channels": shapes[convs[0]][1],
        "conditioning_embedding_out_channels": [shapes[key][0] for key in convs if key in shapes],
    }


def _complete(
    name: str, state: Mapping[str, Tensor], wanted: Iterable[str], unet: UNet2DConditionModel
) -> dict[str, Tensor]:
    """Give a control-LoRA the matrices of its UNet."""
    base = {key: tensor for key, tensor in unet.state_dict().items() if key in set(wanted)}
    whole = {key: tensor for key, tensor in state.items() if not key.endswith((UP, DOWN))}
    for key, up in state.items():
        if not key.endswith(UP):
            continue
        layer = key.removesuffix(UP)
        down, matrix = state.get(f"{layer}{DOWN}"), base.get(f"{layer}.weight")
        if down is None or matrix is None:
            raise CheckpointError(f"{name}: {key} has no {DOWN}, or no place in the model's UNet")
        change = up.float().flatten(1) @ down.float().flatten(1)
        if change.shape != matrix.flatten(1).shape:
            raise CheckpointError(
                f"{name}: this control-LoRA is for another model, it does not fit at {layer}"
            )
        whole[f"{layer}.weight"] = matrix.float().cpu() + change.reshape(matrix.shape)
    return {**{key: tensor.cpu() for key, tensor in base.items()}, **whole}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
