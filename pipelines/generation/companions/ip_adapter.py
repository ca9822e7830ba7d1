"""IP-Adapter: cross-attention to a picture beside that to the prompt.

    Attention(Q, K, V)  ->  Attention(Q, K, V) + weight * Attention(Q, K', V')

where K' and V' come from the picture (Ye et al., "IP-Adapter", arXiv 2308.06721, section 3.2.2).
diffusers reads the file and puts its processors into the UNet's cross-attention; the gates, which
sit between the two attentions of a block, leave them alone.
Axes: B images of the UNet's batch, V channels of a picture, T of its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from grounding.errors import CheckpointError, OfflineError
from weights.base import BaseModel
from weights.choose import Choice, choose_part
from weights.families import CONTEXTS, describe, name_base
from weights.hub import fetch_files, find_place
from weights.image_encoder import ENCODER, clip_pixels, load_vision_tower, read_vision_config
from weights.keymap import name_some
from weights.tensor_file import TensorFile

__all__ = ["IpAdapter", "Likeness", "Shown"]

PROJECTION, LAYERS = "image_proj.", "ip_adapter."
# Kinds, by a tensor that only they have: it reads [..., channels of the picture].
PLAIN = "image_proj.proj.weight"  # the pooled picture
PLUS = "image_proj.proj_in.weight"  # CLIP's tokens, through a resampler ("plus")
FULL = "image_proj.proj.0.weight"  # CLIP's tokens, through an MLP ("full face")
# What they give to the UNet: [channels of text] or [n * channels of text, ...].
GIVEN = {PLAIN: "image_proj.norm.weight", PLUS: "image_proj.norm_out.weight"}
GIVEN |= {FULL: "image_proj.proj.3.weight"}
# Face ids, of no picture: their MLP ends in `norm`, or stands beside a resampler of the picture.
FACES = ("image_proj.norm.weight", "image_proj.perceiver_resampler.")
PLAIN_TOKENS = 4  # that a plain one makes of a picture (num_tokens in the authors' code)
FACE_WIDTH = 512  # of a face's embedding (InsightFace); no image tower of CLIP is as wide
H94 = "h94/IP-Adapter"
# The image encoders of the published IP-Adapters, by the channels that they give.
POOLED = {1024: f"{H94}/models/{ENCODER}", 1280: f"{H94}/sdxl_models/{ENCODER}"}
TOKENS = {1280: f"{H94}/models/{ENCODER}", 1664: f"{H94}/sdxl_models/{ENCODER}"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A picture as an IP-Adapter reads it, [1, 1, V] or [1, 1, T, V], and the absence of one."""

    picture: Tensor
    nothing: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class IpAdapter:
    """An IP-Adapter and the image encoder that it reads pictures with.

    Attributes:
        name: path or hub id.
        state: its tensors: "image_proj" and "ip_adapter", as diffusers takes them.
        encoder: CLIP's image tower.
        unet: what it is attached to.
    """

    name: str
    state: dict[str, dict[str, Tensor]]
    encoder: Any
    unet: Any
    _processors: list[Any] = field(default_factory=list)

    @classmethod
    def load(
        cls,
        name: str,
        base: BaseModel,
        *,
        encoder: str | None = None,
        device: torch.device | str,
        dtype: torch.dtype,
        offline: bool = False,
    ) -> IpAdapter:
        """Load an IP-Adapter, strictly.

        Args:
            name: a file, or `owner/name/file` on the hub.
            base: what it must fit.
            encoder: a folder, or a place on the hub, with an image encoder; by default the one of
                the right width beside the file, or on the hub.
            device: where the image encoder is to be.
            dtype: of its parameters.
            offline: never use the network.

        Raises:
            CheckpointError: not an IP-Adapter, one of another model, or without image encoder.
            OfflineError: it must be downloaded and cannot be.
        """
        path = Path(name)
        if not path.exists():
            path = fetch_files(name, lambda _: [], offline=offline)
        if not path.is_file():
            raise CheckpointError(f"{name}: an IP-Adapter is one file; name it")
        file = TensorFile(path)
        kind = _kind_of(name, file.shapes)
        _check(name, kind, file.shapes, base)
        width = file.shapes[kind][-1]
        folder = _find_encoder(name, path, (kind, width), encoder, offline)
        read = file.read()
        state = {
            head.removesuffix("."): {
                key.removeprefix(head): tensor
                for key, tensor in read.items()
                if key.startswith(head)
            }
            for head in (PROJECTION, LAYERS)
        }
        tower = load_vision_tower(folder, device=device, dtype=dtype)
        return cls(name=name, state=state, encoder=tower, unet=base.unet)

    def attach(self) -> None:
        """Put the processors into the UNet; before the gates, which look at what is there."""
        from diffusers.loaders.ip_adapter import IPAdapterMixin

        class Loader(IPAdapterMixin):
            """As much of a pipeline of diffusers as its loader asks for."""

            unet = self.unet

        state: Any = self.state  # typed as one level of names, and read as two
        Loader().load_ip_adapter(state, subfolder="", weight_name="", image_encoder_folder=None)
        self.unet.eval().requires_grad_(False)
        self._processors.extend(
            processor
            for processor in self.unet.attn_processors.values()
            if isinstance(processor, IPAdapterAttnProcessor2_0)
        )

    def weigh(self, weight: float) -> None:
        """Set how much attention to the picture counts; at 0 it costs nothing."""
        for processor in self._processors:
            processor.scale = [weight]

    @torch.inference_mode()
    def shown(self, picture: Image.Image | None) -> Shown:
        """What a picture shows; of None, nothing, twice."""
        side = self.encoder.config.image_size
        parameter = next(self.encoder.parameters())
        grey = torch.zeros(1, 3, side, side)
        pixels = grey if picture is None else clip_pixels(picture, side)
        if PLAIN.removeprefix(PROJECTION) in self.state["image_proj"]:
            seen = self.encoder(pixels.to(parameter)).image_embeds
            nothing = torch.zeros_like(seen)
            return Shown(
                picture=(nothing if picture is None else seen)[:, None], nothing=nothing[:, None]
            )
        both = [
            self.encoder(one.to(parameter), output_hidden_states=True).hidden_states[-2][:, None]
            for one in (pixels, grey)
        ]
        return Shown(picture=both[0], nothing=both[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Likeness:
    """An IP-Adapter at work on a batch (`gligen.sampler.Companion`).

    Attributes:
        adapter: the IP-Adapter.
        pictures: [B', 1, ...], one for each image.
        nothing: the same for the negative half of guidance.
        weight: factor on what attention to the picture gives.
    """

    adapter: IpAdapter
    pictures: Tensor
    nothing: Tensor
    weight: float

    def __call__(
        self, latents: Float[Tensor, "B C h w"], timestep: Tensor, call: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The UNet's inputs with the picture among them."""
        self.adapter.weigh(self.weight)
        halves = (
            (self.nothing, self.pictures) if len(latents) > len(self.pictures) else (self.pictures,)
        )
        added = {**call["added_cond_kwargs"], "image_embeds": [torch.cat(halves).to(latents)]}
        return {**call, "added_cond_kwargs": added}


def _kind_of(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The kind of an IP-Adapter: PLAIN, PLUS or FULL."""
    other = [key for key in shapes if not key.startswith((PROJECTION, LAYERS))]
    if other or not any(key.startswith(PROJECTION) for key in shapes):
        what = describe(shapes)
        raise CheckpointError(
            f"{name}: not an IP-Adapter{f', but {what}' if what else ''}: expected {PROJECTION}* "
            f"and {LAYERS}*, got {name_some(other or shapes) or 'nothing'}"
        )
    kind = next((kind for kind in GIVEN if len(shapes.get(kind, ())) == 2), None)
    faces = kind != PLAIN and any(key.startswith(FACES) for key in shapes)
    if faces or any("lora" in key for key in shapes):
        raise CheckpointError(
            f"{name}: an IP-Adapter for face ids (FaceID), which reads no picture, is not "
            "supported: take a plain, plus or full-face one"
        )
    if kind is None or GIVEN[kind] not in shapes:
        raise CheckpointError(
            f"{name}: an IP-Adapter of an unknown kind: expected plain, plus or full-face, got "
            f"{name_some(key for key in shapes if key.startswith(PROJECTION))}"
        )
    if kind != PLAIN and shapes[kind][1] == FACE_WIDTH:
        raise CheckpointError(
            f"{name}: reads face ids of {FACE_WIDTH} channels (InstantID), and no picture: take a "
            "plain, plus or full-face IP-Adapter"
        )
    return kind


def _check(name: str, kind: str, shapes: Mapping[str, tuple[int, ...]], base: BaseModel) -> None:
    """Refuse what was made for another UNet."""
    context = base.unet.config["cross_attention_dim"]
    wanted: dict[str, tuple[int, ...]] = {GIVEN[kind]: (context,)}
    if kind == PLAIN:
        wanted[PLAIN] = (PLAIN_TOKENS * context, shapes[PLAIN][1])
    for place, path in enumerate(base.unet.attn_processors):
        layer: Any = base.unet.get_submodule(path.removesuffix(".processor"))
        if not path.endswith("attn1.processor"):
            for side in "kv":
                shape = (layer.to_k.out_features, context)
                wanted[f"{LAYERS}{place}.to_{side}_ip.weight"] = shape
    got = {key: shape for key, shape in shapes.items() if key.startswith(LAYERS) or key in wanted}
    odd = [key for key in {**wanted, **got} if wanted.get(key) != got.get(key)]
    if odd:
        theirs, ours = CONTEXTS.get(shapes[GIVEN[kind]][0]), name_base(base.unet.config)
        differ = f" ({theirs}; the model is {ours})" if theirs not in (None, ours) else ""
        raise CheckpointError(
            f"{name}: this IP-Adapter is for another model{differ}, it does not fit at "
            f"{name_some(odd)}"
        )


def _find_encoder(
    name: str, path: Path, reads: tuple[str, int], encoder: str | None, offline: bool
) -> Path:
    """The folder of the image encoder that gives what an IP-Adapter reads.

    Args:
        name: of the IP-Adapter, as the user wrote it.
        path: of its file.
        reads: its kind, and how many channels it reads.
        encoder: where the user says it is; None: beside the file, else on the hub.
        offline: never use the network.

    Raises:
        CheckpointError: there is none, or one of another width.
        OfflineError: it must be downloaded and cannot be.
    """
    kind, width = reads
    known = (POOLED if kind == PLAIN else TOKENS).get(width)
    places = [*_beside(name, path), *filter(None, (known,))] if encoder is None else [encoder]
    others: list[str] = []
    for place in places:
        try:
            config = read_vision_config(_open_encoder(place, _choose_config, offline))
        except (CheckpointError, OfflineError):
            if place in (encoder, known):
                raise
            continue  # there need not be one beside the file
        given = config.projection_dim if kind == PLAIN else config.hidden_size
        if given == width:
            return _open_encoder(place, _choose_encoder, offline)
        others.append(f"{place} gives {given}")
    if others:
        raise CheckpointError(
            f"{name}: reads pictures in {width} channels, the image encoder {others[0]}; name its "
            f"own with --image-encoder{f', such as {known}' if known else ''}"
        )
    raise CheckpointError(
        f"{name}: no image encoder: expected {ENCODER}/ beside it, of {width} channels, or "
        "--image-encoder FOLDER"
    )


def _beside(name: str, path: Path) -> list[str]:
    """Where the published repositories, and copies of them, have image encoders."""
    if Path(name).exists():
        above = path.parent.parent
        folders = (path.parent, *(above / models for models in ("models", "sdxl_models")))
        return [str(folder / ENCODER) for folder in folders if (folder / ENCODER).is_dir()]
    place = find_place(name, {})
    inside = f"{place.inside.rpartition('/')[0]}/{ENCODER}".removeprefix("/")
    return [str(replace(place, inside=inside))]


def _open_encoder(place: str, choose: Choice, offline: bool) -> Path:
    """The folder of an image encoder on this machine, with the chosen files in it."""
    folder = Path(place)
    if not folder.exists():
        folder = fetch_files(place, choose, offline=offline)
    for one in (folder / ENCODER, folder):
        if (one / "config.json").is_file():
            return one
    raise CheckpointError(f"{place}: no image encoder: expected {ENCODER}/ or its config.json")


def _choose_encoder(files: Iterable[str]) -> list[str]:
    files = list(files)
    return choose_part(files, f"{ENCODER}/") or choose_part(files)


def _choose_config(files: Iterable[str]) -> list[str]:
    """The config alone: it says whether gigabytes of weights are the right ones."""
    return [file for file in _choose_encoder(files) if file.endswith("config.json")]
