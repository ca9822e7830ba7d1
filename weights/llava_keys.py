"""Names of LLaVA's parameters: ours, the original's, and those of transformers' files.

| ours               | original                                  | transformers, on disk         |
|--------------------|-------------------------------------------|-------------------------------|
| `vision_tower.*`   | `model.vision_tower.vision_tower.` and    | `vision_tower.vision_model.*` |
|                    | `vision_model.*`                          |                               |
| `projector.*`      | `model.mm_projector.*`                    | `multi_modal_projector.*`     |
| `language_model.*` | `*`                                       | `language_model.*`            |
| `image_newline`    | `model.image_newline`                     | `image_newline`               |

`model.` is the prefix of the language model's base in the original (`transformer.` for MPT).
Transformers numbers the projector's layers from 1 (`linear_1`, `linear_2`); versions 4.52 and later
may write what they hold in memory, with `model.` before all but `lm_head`. `vision_model.` was
dropped from CLIP's names in transformers 5; here it is never there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from grounding.errors import CheckpointError
from weights.keymap import name_some

__all__ = [
    "IGNORED",
    "Layout",
    "layout_of_keys",
    "original_key",
    "our_key",
    "transformers_key",
]

Layout = Literal["original", "transformers"]

IGNORED = re.compile(r"(rotary_emb\.inv_freq|embeddings\.position_ids)$")
"""Buffers that older versions of transformers kept among the parameters."""

WRAPPER = re.compile(r"^base_model\.model\.")  # peft
ORIGINAL = (
    (re.compile(r"^(?:model|transformer)\.mm_projector\."), "projector."),
    (
        re.compile(r"^(?:model|transformer)\.vision_tower\.vision_tower\.(?:vision_model\.)?"),
        "vision_tower.",
    ),
    (re.compile(r"^(?:model|transformer)\.image_newline$"), "image_newline"),
    (re.compile(r"^"), "language_model."),
)
TRANSFORMERS = (
    (re.compile(r"^(?:model\.)?multi_modal_projector\."), "projector."),
    (re.compile(r"^(?:model\.)?vision_tower\.(?:vision_model\.)?"), "vision_tower."),
    (re.compile(r"^(?:model\.)?image_newline$"), "image_newline"),
    (re.compile(r"^language_model\.lm_head\."), "language_model.lm_head."),
    (re.compile(r"^lm_head\."), "language_model.lm_head."),
    (re.compile(r"^(?:language_model\.model|model\.language_model)\."), "language_model.model."),
)
LAYER = re.compile(r"^projector\.linear_(\d+)\.")
OUR_LAYER = re.compile(r"^projector\.(?:(\d+)\.)?(weight|bias)$")


def layout_of_keys(keys: Iterable[str]) -> Layout | None:
    """Tell a layout by its projector; None if there is none."""
    for key in keys:
        if "mm_projector." in key:
            return "original"
        if "multi_modal_projector." in key:
            return "transformers"
    return None


def our_key(key: str, layout: Layout) -> str | None:
    """Translate a name into ours.

    Args:
        key: A name in a file, perhaps with peft's wrapper before it.
        layout: Of the file.

    Returns:
        Our name; None for what the layout has no place for.
    """
    key = WRAPPER.sub("", key)
    for pattern, ours in ORIGINAL if layout == "original" else TRANSFORMERS:
        if pattern.match(key):
            key = pattern.sub(ours, key, count=1)
            if layout == "transformers" and key.startswith("projector."):
                return LAYER.sub(lambda match: f"projector.{2 * int(match[1]) - 2}.", key)
            return key
    return None


def original_key(key: str, base: str) -> str:
    """Translate our name into the original's.

    Args:
        key: Our name.
        base: Prefix of the language model's base: `model`, or `transformer`.
    """
    head, _, rest = key.partition(".")
    if head == "language_model":
        return rest
    if head == "vision_tower":
        return f"{base}.vision_tower.vision_tower.vision_model.{rest}"
    return f"{base}.mm_projector.{rest}" if head == "projector" else f"{base}.{key}"


def transformers_key(key: str, *, inner: str = "vision_model.") -> str:
    """Translate our name into that of transformers' files.

    Args:
        key: Our name.
        inner: What stands between the vision tower and its parts.

    Raises:
        CheckpointError: The layout has no place for it.
    """
    head, _, rest = key.partition(".")
    if head == "vision_tower":
        return f"vision_tower.{inner}{rest}"
    match = OUR_LAYER.match(key)
    if match is not None:
        number = 1 + int(match[1] or 0) // 2
        return f"multi_modal_projector.linear_{number}.{match[2]}"
    if head == "language_model" and not rest.startswith(("model.", "lm_head.")):
        raise CheckpointError(
            f"layout 'transformers' has no place for {name_some([rest])}: its classes hold "
            "language models whose parts are 'model' and 'lm_head'; use layout 'original'"
        )
    return key
