"""LoRA files of every maker: which layer of which model each tensor changes, and by how much.

    lora_unet_down_blocks_0_attentions_0_proj_in . lora_down.weight
    \\_______________ the layer _______________/   \\___ what ___/

A layer is found by its path with "_" for "." in it, after one of the prefixes below, in diffusers'
or in the official spelling (`input_blocks.1.1...`). What stands for the change:

| here               | kohya, LyCORIS, OneTrainer | diffusers, peft                              |
|--------------------|----------------------------|----------------------------------------------|
| down, up           | lora_down, lora_up         | lora_A, lora_B; lora.down; lora_linear_layer |
| mid                | lora_mid                   |                                              |
| hada_*, lokr_*     | the same                   | the same                                     |
| dora_scale         | dora_scale                 |                                              |
| magnitude          |                            | lora_magnitude_vector                        |
| diff, diff_b, ...  | the same                   |                                              |
| alpha of a layer   | alpha                      | adapter_config.json, or the file's header    |

Every tensor must find its place: what is left over is an error that names it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from grounding.errors import CheckpointError
from weights.base import BaseModel
from weights.components import read_config
from weights.families import STABLE_DIFFUSION, describe, name_base
from weights.keymap import UNetLayout, name_some, rename_all, unet_table
from weights.lora_update import Update, find_rank, is_complete
from weights.tensor_file import TensorFile

__all__ = ["PARTS", "PEFT_CONFIG", "LoraWeights", "read_lora"]

PARTS = ("unet", "text_encoder", "text_encoder_2")
PEFT_CONFIG = "adapter_config.json"
PEFT_PREFIX = "base_model.model."
HEADER = "lora_adapter_metadata"  # diffusers >= 0.35, in the header of a safetensors file
BUNDLE = re.compile(r"^bundle_emb\.(?P<word>.+?)\.(?P<rest>string_to_param\..+|\w+)$")  # OneTrainer
TEXT_MODEL = "text_model."  # a level of CLIP's that transformers 5 dropped

PREFIXES: dict[str, tuple[str, ...]] = {
    "unet": ("unet.", "lora_unet_", "lycoris_", "diffusion_model.", "model.diffusion_model.", ""),
    "text_encoder": (
        *("text_encoder.", "lora_te_", "lora_te1_", "text_encoders.clip_l.transformer."),
        "",
    ),
    "text_encoder_2": ("text_encoder_2.", "lora_te2_", "text_encoders.clip_g.transformer."),
}
TENSORS: dict[str, str] = {
    "down": r"\.lora_down\.weight|[._]lora\.down\.weight|\.lora_A(?:\.default)?\.weight"
    r"|\.lora_linear_layer\.down\.weight",
    "up": r"\.lora_up\.weight|[._]lora\.up\.weight|\.lora_B(?:\.default)?\.weight"
    r"|\.lora_linear_layer\.up\.weight",
    "mid": r"\.lora_mid\.weight",
    "magnitude": r"\.lora_magnitude_vector(?:\.default)?(?:\.weight)?",
    **{name: rf"\.{name}" for name in ("alpha", "dora_scale", "diff", "diff_b")},
    **{name: rf"\.{name}" for name in ("w_norm", "b_norm")},
    **{f"hada_{name}": rf"\.hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{f"lokr_{name}": rf"\.lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b")},
    "lokr_t2": r"\.lokr_t2",
}
KEY = re.compile(
    rf"^(?P<layer>.+?)(?:{'|'.join(f'(?P<{name}>{ends})' for name, ends in TENSORS.items())})$"
)
# Attention as diffusers named it before 0.22: "attn1.processor.to_out_lora", "self_attn.to_q_lora".
OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
# Kin that change a layer in another way than the table of `weights.lora_update`.
OTHER_KINDS = {
    "OFT": r"\.(oft_blocks|oft_diag|oft_R\b)",
    "GLoRA": r"\.(a1|b1)\.weight$",
    "IA3": r"\.(on_input|ia3_l)",
    "T-LoRA": r"\.lambda_layer",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraWeights:
    """What a file holds.

    Attributes:
        updates: Part of the base (`PARTS`) -> path of a layer in it -> its change.
        words: Words of one's own that OneTrainer bundles: word -> the tensors of its embedding.
    """

    updates: dict[str, dict[str, Update]] = field(default_factory=dict)
    words: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def read_lora(name: str, files: Mapping[str, Path], base: BaseModel) -> LoraWeights:
    """Read a LoRA and see that all of it fits a base model.

    Args:
        name: What the user called it, for messages.
        files: Part of the base -> its file; the part "" is what the names in the file say.
        base: What it must fit.

    Raises:
        CheckpointError: Not a LoRA, one of another model, or of a kind that cannot be used.
    """
    found: dict[tuple[str, str], dict[str, Tensor]] = {}
    homeless: list[str] = []
    words: dict[str, dict[str, Tensor]] = {}
    configs: dict[str, Mapping[str, Any]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    layers = _name_layers(base)
    for part, path in files.items():
        file = TensorFile(path)
        shapes |= file.shapes
        configs |= _read_configs(name, file, part)
        for key, tensor in file.read().items():
            bundled = BUNDLE.match(key)
            if bundled is not None:
                words.setdefault(bundled["word"], {})[bundled["rest"]] = tensor
                continue
            layer, kind = _split(key, part)
            home = layers.get(layer.replace(".", "_"))
            if kind is None or home is None or kind in found.get(home, {}):  # or there twice
                homeless.append(key)
            else:
                found.setdefault(home, {})[kind] = tensor
    if homeless or not (found or words):
        raise CheckpointError(_refusal(name, shapes, homeless, base))
    updates: dict[str, dict[str, Update]] = {}
    odd: list[str] = []
    for (part, path), tensors in found.items():
        alpha = tensors.pop("alpha", None)
        config = configs.get(part, configs.get("", {}))
        update = Update(tensors=tensors, scale=_scale(path, tensors, alpha, config))
        if is_complete(tensors.keys()) and _fits(getattr(base, part), path, update):
            updates.setdefault(part, {})[path] = update
        else:
            odd.append(f"{part}.{path}")
    if odd:
        raise CheckpointError(_refusal(name, shapes, odd, base))
    return LoraWeights(updates=updates, words=words)


def _name_layers(base: BaseModel) -> dict[str, tuple[str, str]]:
    """Every name that a layer has in some file, with "_" for "." -> part, path."""
    names: dict[str, tuple[str, str]] = {}
    for part in PARTS:
        model = getattr(base, part)
        if model is None:
            continue
        paths = [path for path, layer in model.named_modules() if _weight_of(layer) is not None]
        spelled = [(path, path) for path in paths]
        if part == "unet":
            spelled += _official_names(paths, model.config)
        else:
            spelled = [(path.removeprefix(TEXT_MODEL), path) for path in paths]
            spelled += [(f"{TEXT_MODEL}{name}", path) for name, path in spelled]
        for prefix in PREFIXES[part]:
            for name, path in spelled:
                names.setdefault(f"{prefix}{name}".replace(".", "_"), (part, path))
    return names


def _official_names(paths: list[str], config: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        table = unet_table(UNetLayout.of(config))
    except CheckpointError:  # it has no official names
        return []
    inverse = {diffusers: official for official, diffusers in table.items()}
    return [(name, path) for path, name in rename_all(paths, inverse, "UNet").items()]


def _split(key: str, part: str) -> tuple[str, str | None]:
    """A name in a file as that of a layer, and what of its change it is."""
    match = KEY.match(key)
    if match is None:
        return key, None
    layer = match["layer"].removeprefix(PEFT_PREFIX).replace(".processor.", ".")
    head, _, last = layer.rpartition(".")
    if head.endswith("self_attn"):
        layer = f"{head}.{OLD_TEXT.get(last, last)}"
    elif last == "to_out":
        layer = f"{layer}.0"
    kind = next(name for name in TENSORS if match[name] is not None)
    return (f"{part}.{layer}" if part else layer), kind


def _read_configs(name: str, file: TensorFile, part: str) -> dict[str, Mapping[str, Any]]:
    """What peft and diffusers say of ranks and alphas: part, or "" for all -> config."""
    path = file.path
    if any(key.startswith(PEFT_PREFIX) for key in file.shapes):
        beside = path.parent / PEFT_CONFIG
        if not beside.is_file():
            raise CheckpointError(
                f"{name}: expected {PEFT_CONFIG} beside {path.name}: peft writes alpha into it"
            )
        return {part: read_config(beside)}
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as opened:
        text = (opened.metadata() or {}).get(HEADER)
    if text is None:
        return {}
    try:
        every = json.loads(text)
        named = [(*key.split(".", 1), value) for key, value in every.items()]
        found = {
            model: {key: value for head, key, value in named if head == model}
            for model in {head for head, _, _ in named}
        }
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its {HEADER} is not what diffusers writes") from error
    return dict(found)


def _scale(
    path: str, tensors: Mapping[str, Tensor], alpha: Tensor | None, config: Mapping[str, Any]
) -> float:
    """Find alpha / rank: the layer's own, else the config's, else 1."""
    rank = find_rank(tensors)
    said = config.get("lora_alpha", config.get("alpha"))
    if alpha is not None:
        # 0 is LyCORIS' way to say: as the rank.
        return float(alpha) / rank if rank and float(alpha) else 1.0
    if not isinstance(said, (int, float)):
        return 1.0
    rank = rank or _pattern(config.get("rank_pattern"), path, config.get("r"))
    said = _pattern(config.get("alpha_pattern"), path, said)
    return said / (math.sqrt(rank) if config.get("use_rslora") else rank) if rank else 1.0


def _pattern(patterns: object, path: str, usual: Any) -> Any:
    """What a config of peft says of one layer; its keys are the ends of paths (get_pattern_key)."""
    for key, value in (patterns if isinstance(patterns, Mapping) else {}).items():
        ends = re.compile(rf"(.*\.)?({key})$")
        if ends.match(path) or ends.match(f"{TEXT_MODEL}{path}"):
            return value
    return usual


def _weight_of(layer: nn.Module) -> Tensor | None:
    weight = getattr(layer, "weight", None)
    return weight if isinstance(weight, Tensor) else None


def _fits(model: nn.Module, path: str, update: Update) -> bool:
    """Try the change on tensors without content."""
    layer: Any = model.get_submodule(path)
    bias = getattr(layer, "bias", None)
    dry = Update(tensors={k: t.to("meta") for k, t in update.tensors.items()}, scale=1.0)
    try:
        dry.weight(torch.empty_like(layer.weight, device="meta", dtype=torch.float32))
        if bias is not None:
            dry.bias(torch.empty_like(bias, device="meta", dtype=torch.float32))
        return bias is not None or not {"diff_b", "b_norm"} & dry.tensors.keys()
    except (ValueError, RuntimeError, IndexError):
        return False


def _refusal(
    name: str, shapes: Mapping[str, tuple[int, ...]], odd: list[str], base: BaseModel
) -> str:
    """Say in one line why a file cannot be used."""
    for kind, pattern in OTHER_KINDS.items():
        if any(re.search(pattern, key) for key in shapes):
            return f"{name}: is of the kind {kind}; LoRA, LoCon, LoHa, LoKr and DoRA can be used"
    what, ours = describe(shapes), name_base(base.unet.config)
    where = name_some(odd) or "nothing"
    if what is None or not what.startswith("a LoRA"):
        return f"{name}: not a LoRA, but {what or 'a file of another kind'} ({where})"
    theirs = what.removeprefix("a LoRA for ")
    if theirs in (what, STABLE_DIFFUSION, ours):
        return f"{name}: this LoRA is for another model, it does not fit at {where}"
    return f"{name}: is {what}, and the model is {ours}: take one made for it (at {where})"
