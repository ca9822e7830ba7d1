"""Opening an embedder by name: the embedded one, a CLIP, a CLAP, or a plug-in."""

import importlib
import re
from pathlib import Path
from typing import Any

from grounding.embedder import Embedder
from grounding.errors import CheckpointError
from pipelines.device import choose_device
from pipelines.retrieval.phrase_embedder import open_phrase_embedder
from weights.clap import choose_clap, load_clap
from weights.clip import load_clip
from weights.components import read_config
from weights.hub import fetch_files
from weights.registry import EMBEDDED

__all__ = ["open_embedder"]

PLUGIN = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")
PARTS = ("name", "fingerprint", "modalities", "scale", "embed")


def open_embedder(
    model: str = EMBEDDED, *, device: str = "auto", offline: bool = False
) -> Embedder:
    """Open an embedder.

    Args:
        model: "embedded"; a folder or hub id of a CLIP or a CLAP in transformers' layout; or
            "module:name", a plug-in: what is called so in a module of Python, without arguments,
            gives the embedder (`grounding.embedder` has an example).
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        offline: Never use the network.

    Raises:
        LavallamaError: It cannot be had, in one line.
    """
    where = choose_device(device)
    if model == EMBEDDED:
        return open_phrase_embedder(where)
    plugin = PLUGIN.fullmatch(model)
    if plugin and not Path(model).exists():
        return _plugged(plugin[1], plugin[2])
    folder = Path(model)
    if not folder.is_dir():
        if "/" not in model or model.startswith((".", "/", "~")):
            raise CheckpointError(
                f"{model}: no such folder; expected {EMBEDDED}, a folder or hub id of a CLIP or "
                "CLAP, or a plug-in, module:name"
            )
        folder = fetch_files(model, choose_clap, offline=offline)
    kind = read_config(folder / "config.json").get("model_type")
    if kind == "clap":
        return load_clap(model, device=where, offline=offline)
    if kind == "clip":
        return load_clip(model, device=where, offline=offline)
    raise CheckpointError(f"{model}: expected a model of type clip or clap, got {kind!r}")


def _plugged(module: str, name: str) -> Embedder:
    """What a plug-in gives."""
    try:
        made: Any = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{module}:{name}: no such plug-in ({error}): PYTHONPATH says where modules are"
        ) from error
    missing = [part for part in PARTS if not hasattr(made, part)]
    if missing:
        raise CheckpointError(
            f"{module}:{name}: is no embedder: it lacks {', '.join(missing)} (grounding.embedder)"
        )
    return made
