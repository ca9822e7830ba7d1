"""Short names for models that people ask for.

A literal table rather than a TOML file: Python 3.10 has no TOML reader, and a type checker reads
this one. None of these are part of lavallama; each comes with the licence of its authors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grounding.errors import CheckpointError

__all__ = ["EMBEDDED", "KNOWN", "KnownModel", "embedded", "lookup"]

EMBEDDED = "embedded"
"""The name that asks for the model that ships with lavallama."""


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """Where a public model is and what it can be used as.

    Attributes:
        repo: Hub id.
        file: The file in the repository; None for a whole diffusers folder.
        layout: How its parameters are named.
        use: Can stand after `--model` ("base"), after `--adapter` ("adapter"), or both.
        base: For an adapter alone: the short name of the base that it was trained on.
    """

    repo: str
    file: str | None = None
    layout: Literal["diffusers", "official", "comfyui"]
    use: Literal["base", "adapter", "both"]
    base: str | None = None

    @property
    def source(self) -> str:
        """Return `owner/name`, or `owner/name/file` for a single file."""
        return self.repo if self.file is None else f"{self.repo}/{self.file}"


COMFYUI = "comfyanonymous/GLIGEN_pruned_safetensors"

KNOWN: dict[str, KnownModel] = {
    "sd14": KnownModel(repo="CompVis/stable-diffusion-v1-4", layout="diffusers", use="base"),
    "sd15": KnownModel(
        repo="stable-diffusion-v1-5/stable-diffusion-v1-5", layout="diffusers", use="base"
    ),
    "gligen": KnownModel(
        repo="masterful/gligen-1-4-generation-text-box", layout="diffusers", use="both"
    ),
    "gligen-official": KnownModel(
        repo="gligen/gligen-generation-text-box",
        file="diffusion_pytorch_model.bin",
        layout="official",
        use="both",
    ),
    "gligen-comfyui": KnownModel(
        repo=COMFYUI,
        file="gligen_sd14_textbox_pruned.safetensors",
        layout="comfyui",
        use="adapter",
        base="sd14",
    ),
    "gligen-comfyui-fp16": KnownModel(
        repo=COMFYUI,
        file="gligen_sd14_textbox_pruned_fp16.safetensors",
        layout="comfyui",
        use="adapter",
        base="sd14",
    ),
    "igligen-sd21": KnownModel(repo="longlian/igligen-sd2.1-v1.0", layout="diffusers", use="both"),
}


def lookup(name: str) -> KnownModel | None:
    """Find a known model by its short name; None when there is none of that name."""
    return KNOWN.get(name)


def embedded(part: str) -> Path:
    """Find a part of the model that ships with lavallama: "base" or "gligen".

    Raises:
        CheckpointError: This installation came without it.
    """
    folder = Path(__file__).parent / "embedded" / part
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: the embedded model is not in this installation: install lavallama with its "
            "data, or give --model a path or hub id"
        )
    return folder
