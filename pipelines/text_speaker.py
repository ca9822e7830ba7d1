"""Opening whoever answers in words: a LLaVA, an endpoint, or any causal language model."""

import json
from pathlib import Path

from grounding.errors import CheckpointError, OfflineError
from grounding.llava.chat import Speaker
from pipelines.device import choose_device, choose_dtype
from pipelines.speaker import open_speaker
from weights.registry import EMBEDDED, lookup_chat

__all__ = ["open_text_speaker"]


def open_text_speaker(
    model: str,
    *,
    served_model: str | None = None,
    key_variable: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    offline: bool = False,
) -> Speaker:
    """Open a model that is asked without pictures.

    Args:
        model: A folder, a hub id, a short name, or the address of an OpenAI-compatible endpoint.
        served_model: What an endpoint calls its model.
        key_variable: Environment variable that holds an endpoint's key.
        device: "auto", "cpu", "cuda", "cuda:1".
        dtype: "auto", "float32", "float16", "bfloat16".
        offline: Never use the network.

    Raises:
        LavallamaError: Any of this cannot be had, in one line.
    """
    remote = model.startswith(("http://", "https://"))
    if remote or model == EMBEDDED or lookup_chat(model) or _is_llava(model, offline=offline):
        return open_speaker(
            model,
            served_model=served_model,
            key_variable=key_variable,
            device=device,
            dtype=dtype,
            offline=offline,
        )
    from weights.language_model import load_text_chat

    where = choose_device(device)
    return load_text_chat(model, device=where, dtype=choose_dtype(dtype, where), offline=offline)


def _is_llava(model: str, *, offline: bool) -> bool:
    """Whether a folder or repository holds a LLaVA, by its config."""
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(model, "config.json", local_files_only=offline)
        config = json.loads(Path(str(found)).read_text("utf-8"))
    except (OSError, ValueError) as error:
        if Path(model).exists():
            raise CheckpointError(f"{model}: has no config.json that can be read") from error
        hint = "without --offline" if offline else "where the hub can be reached"
        raise OfflineError(
            f"{model}: no such folder, and it cannot be had from the hub: try again {hint}"
        ) from error
    return "llava" in str(config.get("model_type")) or "vision_config" in config
