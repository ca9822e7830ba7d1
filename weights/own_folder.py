"""What our own folders share: a `config.json` that names its format and its tensors' hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grounding.errors import CheckpointError

__all__ = ["read_document", "state_digest"]


def read_document(where: Path, kind: str, version: int) -> dict[str, Any]:
    """Read a folder's `config.json`.

    Args:
        where: The file.
        kind: The "format" that it must name.
        version: The "format_version" that it must have.

    Raises:
        CheckpointError: It is no such document.
    """
    try:
        document = json.loads(where.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: expected a JSON object ({error})") from error
    if not isinstance(document, dict) or document.get("format") != kind:
        raise CheckpointError(f'{where}: expected "format": "{kind}"')
    if document.get("format_version") != version:
        raise CheckpointError(
            f"{where}: expected format_version {version}, got "
            f"{document.get('format_version')!r}: update lavallama or convert the file again"
        )
    return document


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and bytes: the same for the same parameters."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().to("cpu").contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
