"""CLIP's tokenizer, which ships with lavallama: files that bring none need no second download."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weights.registry import embedded

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

__all__ = ["load_clip_tokenizer"]


def load_clip_tokenizer() -> CLIPTokenizer:
    """Load the tokenizer that every CLIP of OpenAI, Stable Diffusion 1.x and SEEM was trained with.

    Returns:
        A tokenizer of its own for each call. It pads with the end of the text, as OpenAI's does;
        OpenCLIP's, the only one of Stable Diffusion 2.x and the second of SDXL, pads with token 0,
        which is `tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)`.

    Raises:
        CheckpointError: This installation came without it.
    """
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(embedded("clip_tokenizer")), local_files_only=True)
