"""Configs of LLaVA: ours, the original's, and transformers'.

A file is recognised by what is in it. Original configs name a class like `LlavaLlamaForCausalLM`
and have keys `mm_*`; some of them also say `"model_type": "llava"`, which transformers would open
as its own, with default sizes. transformers' own have `text_config` and `vision_config`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import transformers
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL_LM

from grounding.errors import CheckpointError
from grounding.geometry import Size
from grounding.llava.anyres import PINPOINTS
from grounding.llava.config import LlavaConfig
from weights.llava_keys import Layout

__all__ = [
    "KNOWN_TOWERS",
    "UNPADDED",
    "layout_of_config",
    "original_config",
    "read_original",
    "read_transformers",
    "transformers_config",
    "vision_config",
]

ORIGINAL_CLASS = re.compile(r"^Llava(\w+)ForCausalLM$")
NEXT_CLASS, PLAIN_CLASS = "LlavaNextForConditionalGeneration", "LlavaForConditionalGeneration"
CAUSAL = ("ForCausalLM", "LMHeadModel")  # how transformers names causal models
OTHER_NAMES = {"Qwen": "Qwen2"}  # of LLaVA-NeXT's classes, where transformers has another
PAIR = re.compile(r"[(\[]\s*(\d{1,6})\s*,\s*(\d{1,6})\s*[)\]]")
UNPADDED = "unpadded_vocab_size"
SIZES = ("hidden_size", "vocab_size")
"""In a transformers config that we wrote: words before a place for `<image>` was added."""
OUR_VISION = "mm_vision_config"
"""In an original config that we wrote: the vision tower's."""
TEMPLATE = "conversation_template"
"""In a config that we wrote: how the model was spoken to."""
LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 768,
}
KNOWN_TOWERS: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14": {**LARGE, "image_size": 224},
    "openai/clip-vit-large-patch14-336": {**LARGE, "image_size": 336},
}
"""Sizes of the towers of LLaVA's papers, so that they need not be asked for."""


def layout_of_config(config: Mapping[str, Any]) -> Layout | None:
    """Tell a layout by a config; None if it is no LLaVA's."""
    names = config.get("architectures") or []
    if "text_config" in config or {NEXT_CLASS, PLAIN_CLASS} & set(names):
        return "transformers"
    if any(ORIGINAL_CLASS.match(str(name)) for name in names):
        return "original"
    return "original" if any(key.startswith("mm_") for key in config) else None


def read_original(config: Mapping[str, Any], vision: Any, where: str) -> LlavaConfig:
    """Read an original config.

    Args:
        config: The file's content.
        vision: Config of the vision tower.
        where: What is being read, for messages.

    Raises:
        CheckpointError: It says something that no LLaVA of ours can be.
    """
    aspect = config.get("image_aspect_ratio") or "square"
    if aspect not in ("square", "pad", "anyres"):
        raise CheckpointError(
            f"{where}: expected image_aspect_ratio square, pad or anyres, got {aspect!r}"
        )
    merge = config.get("mm_patch_merge_type", "flat")
    if aspect == "anyres" and merge != "spatial_unpad":
        raise CheckpointError(
            f"{where}: expected mm_patch_merge_type spatial_unpad with anyres, got {merge!r}"
        )
    feature = config.get("mm_vision_select_feature", "patch")
    if feature not in ("patch", "cls_patch"):
        raise CheckpointError(
            f"{where}: expected mm_vision_select_feature patch or cls_patch, got {feature!r}"
        )
    return LlavaConfig(
        vision=vision,
        text=_text_config(config, where),
        projector=config.get("mm_projector_type") or "linear",
        layer=int(config.get("mm_vision_select_layer", -2)),
        feature=feature,
        aspect=aspect,
        pinpoints=_pinpoints(config.get("image_grid_pinpoints"), where),
        image_token=config.get("image_token_index"),
        fenced=bool(config.get("mm_use_im_start_end")),
        template=config.get(TEMPLATE),
    )


def read_transformers(config: Mapping[str, Any], where: str) -> LlavaConfig:
    """Read a transformers config.

    Raises:
        CheckpointError: It says something that no LLaVA of ours can be.
    """
    layer = config.get("vision_feature_layer", -2)
    if not isinstance(layer, int):
        raise CheckpointError(f"{where}: expected one vision_feature_layer, got {layer}")
    names = config.get("architectures") or []
    is_next = NEXT_CLASS in names or config.get("model_type") == "llava_next"
    pinpoints = config.get("image_grid_pinpoints")
    own = config.get(UNPADDED)
    text = dict(config.get("text_config") or {})
    if own is not None:
        text["vocab_size"] = own
    return LlavaConfig(
        vision=vision_config(config.get("vision_config") or {}, where),
        text=_config_of(text, "llama", where),
        projector=config.get("mm_projector_type") or "mlp2x_gelu",
        layer=layer,
        feature="patch"
        if config.get("vision_feature_select_strategy", "default") == "default"
        else "cls_patch",
        aspect="anyres" if is_next else config.get("image_aspect_ratio") or "pad",
        pinpoints=PINPOINTS if pinpoints is None else tuple((w, h) for h, w in pinpoints),
        image_token=None if own is not None else config.get("image_token_index"),
        fenced=bool(config.get("mm_use_im_start_end")),
        template=config.get(TEMPLATE),
    )


def original_config(config: LlavaConfig) -> dict[str, Any]:
    """Write a config as the original does; the vision tower's is added."""
    text = config.text.to_dict()
    name = CAUSAL_LM[config.text.model_type]
    for suffix in CAUSAL:
        name = name.removesuffix(suffix)
    anyres = config.aspect == "anyres"
    written = text | {
        "architectures": [f"Llava{name}ForCausalLM"],
        "model_type": f"llava_{config.text.model_type}",
        "mm_projector_type": config.projector,
        "mm_hidden_size": config.vision.hidden_size,
        "mm_vision_select_layer": config.layer,
        "mm_vision_select_feature": config.feature,
        "mm_patch_merge_type": "spatial_unpad" if anyres else "flat",
        "mm_use_im_start_end": config.fenced,
        "mm_use_im_patch_token": False,
        "use_mm_proj": True,
        "unfreeze_mm_vision_tower": True,  # its weights are in the file
        "image_aspect_ratio": config.aspect,
        OUR_VISION: _plain(config.vision),
    }
    if config.template is not None:
        written[TEMPLATE] = config.template
    if anyres:
        written["image_grid_pinpoints"] = [list(canvas) for canvas in config.pinpoints]
    if config.image_token is not None:
        written["image_token_index"] = config.image_token
    return written


def transformers_config(config: LlavaConfig, image_token: int, vocabulary: int) -> dict[str, Any]:
    """Write a config as transformers does.

    Args:
        config: Ours.
        image_token: Id of `<image>`.
        vocabulary: Words with it, and what fills up the table.
    """
    anyres = config.aspect == "anyres"
    written: dict[str, Any] = {
        "architectures": [NEXT_CLASS if anyres else PLAIN_CLASS],
        "model_type": "llava_next" if anyres else "llava",
        "vision_config": _plain(config.vision),
        "text_config": _plain(config.text) | {"vocab_size": vocabulary},
        "image_token_index": image_token,
        "image_seq_length": (config.side // config.patch) ** 2,
        "projector_hidden_act": "gelu" if config.projector == "mlp2x_gelu" else "linear",
        "vision_feature_layer": config.layer,
        "vision_feature_select_strategy": "default" if config.feature == "patch" else "full",
        "multimodal_projector_bias": True,
        "tie_word_embeddings": bool(getattr(config.text, "tie_word_embeddings", False)),
        "mm_projector_type": config.projector,
        "mm_use_im_start_end": config.fenced,
        "image_aspect_ratio": config.aspect,
    }
    if config.template is not None:
        written[TEMPLATE] = config.template
    if anyres:
        written["image_grid_pinpoints"] = [[h, w] for w, h in config.pinpoints]
    if config.image_token is None:
        written[UNPADDED] = config.text.vocab_size
    return written


def vision_config(values: Mapping[str, Any], where: str) -> Any:
    """Read the config of a vision tower; of a whole CLIP, its tower's.

    Raises:
        CheckpointError: No CLIP-like tower.
    """
    inner = values.get("vision_config")
    values = inner if isinstance(inner, Mapping) else values
    config = _config_of(values, "clip_vision_model", where)
    if not all(hasattr(config, name) for name in ("image_size", "patch_size", "hidden_size")):
        raise CheckpointError(
            f"{where}: expected a CLIP-like vision tower, got {config.model_type}"
        )
    return config


def _config_of(values: Mapping[str, Any], default: str, where: str) -> Any:
    """A transformers config of the type that it names."""
    values = {key: value for key, value in values.items() if key not in ("dtype", "torch_dtype")}
    kind = values.pop("model_type", default)
    try:
        config = AutoConfig.for_model(kind, **values)
        for name in SIZES:  # transformers before 5.4 takes anything for a number
            if not isinstance(size := getattr(config, name, 0), int):
                raise TypeError(f"expected a whole number as {name}, got {size!r}")
        return config
    except Exception as error:  # transformers checks configs with several kinds of errors
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{where}: a {kind} cannot be made of its config: {reason}"
        ) from error


def _text_config(config: Mapping[str, Any], where: str) -> Any:
    """The language model's config, from what the original writes beside it."""
    matches = [ORIGINAL_CLASS.match(str(name)) for name in config.get("architectures") or []]
    found = next((match[1] for match in matches if match is not None), None)
    if found is None:
        raise CheckpointError(
            f"{where}: expected architectures like LlavaLlamaForCausalLM, got "
            f"{config.get('architectures')}"
        )
    names = [f"{OTHER_NAMES.get(found, found)}{suffix}" for suffix in CAUSAL]
    model = next((getattr(transformers, n) for n in names if hasattr(transformers, n)), None)
    if model is None:
        raise CheckpointError(f"{where}: transformers has no language model {names[0]}")
    skipped = (
        "architectures",
        "image_grid_pinpoints",
        "image_aspect_ratio",
        "image_token_index",
        TEMPLATE,
    )
    values = {
        key: value
        for key, value in config.items()
        if key not in skipped
        and not key.startswith(("mm_", "use_mm_", "tune_mm_", "freeze_mm_", "unfreeze_mm_"))
    }
    return _config_of(values | {"model_type": model.config_class.model_type}, "llama", where)


def _pinpoints(value: Any, where: str) -> tuple[Size, ...]:
    """Canvases, (width, height); old configs write the list as text, which is not evaluated."""
    if value is None:
        return PINPOINTS
    pairs = PAIR.findall(value) if isinstance(value, str) else value
    try:
        pinpoints = tuple((int(width), int(height)) for width, height in pairs)
    except (TypeError, ValueError):
        pinpoints = ()
    if not pinpoints:
        raise CheckpointError(f"{where}: expected image_grid_pinpoints [[width, height], ...]")
    return pinpoints


def _plain(config: Any) -> dict[str, Any]:
    return dict(config.to_dict())
