"""Loading a language model that reads words alone, whatever transformers knows."""

from pathlib import Path
from typing import Any

import torch

from grounding.errors import CheckpointError
from grounding.llava.text_chat import TextChat
from weights.foreign_code import NO_CODE, reason_of
from weights.hub import fetch_chat
from weights.llava_chat import load_chat_tokenizer

__all__ = ["load_text_chat"]


def load_text_chat(
    source: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    offline: bool = False,
) -> TextChat:
    """Load a causal language model with its tokenizer.

    Args:
        source: A folder in transformers' layout, or a hub id.
        device: Where it is to be.
        dtype: Of its parameters; None: as stored.
        offline: Never use the network.

    Raises:
        CheckpointError: It is no such model.
        OfflineError: It must be downloaded and cannot be.
    """
    from transformers import AutoModelForCausalLM

    path = Path(source)
    folder = path if path.is_dir() else fetch_chat(str(source), offline=offline)
    tokenizer = load_chat_tokenizer(folder)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto" if dtype is None else dtype, local_files_only=True, **NO_CODE
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{folder}: is no language model of transformers: {reason_of(error)}"
        ) from None
    return TextChat(model.to(device), tokenizer)
