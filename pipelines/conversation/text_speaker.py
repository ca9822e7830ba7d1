"""Opening whoever answers in words: a LLaVA, an endpoint, or any causal language model."""

import json

from grounding.errors import CheckpointError
from grounding.llava.chat import Speaker
from pipelines.conversation.speaker import open_speaker
from pipelines.device import choose_device, choose_dtype
from weights.hub_place import is_endpoint
from weights.language_model import load_text_chat
from weights.llava import local_folder
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
    remote = is_endpoint(model)
    if remote or model == EMBEDDED or lookup_chat(model) or _sees(model, offline=offline):
        return open_speaker(
            model,
            served_model=served_model,
            key_variable=key_variable,
            device=device,
            dtype=dtype,
            offline=offline,
        )
    where = choose_device(device)
    return load_text_chat(model, device=where, dtype=choose_dtype(dtype, where), offline=offline)


def _sees(model: str, *, offline: bool) -> bool:
    """Whether a folder or repository holds a model that is shown pictures, by its config."""
    folder = local_folder(model, offline=offline)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: has no config.json that can be read") from error
    return "llava" in str(config.get("model_type")) or "vision_config" in config
