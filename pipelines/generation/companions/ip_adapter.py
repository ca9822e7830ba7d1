"""IP-Adapter: cross-attention to a picture beside that to the prompt.

    Attention(Q, K, V)  ->  Attention(Q, K, V) + weight * Attention(Q, K', V')

where K' and V' come from the picture (Ye et al., "IP-Adapter", arXiv 2308.06721, section 3.2.2).
diffusers reads the file and puts its processors into the UNet's cross-attention; the gates, which
sit between the two attentions of a block, leave them alone.
Axes: B images of the UNet's batch, V channels of a picture, T of its tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from grounding.errors import CheckpointError
from weights.base import BaseModel
from weights.hub import choose_part, fetch_files
from weights.image_encoder import ENCODER, clip_pixels, load_vision_tower
from weights.keymap import name_some
from weights.tensor_file import TensorFile

__all__ = ["IpAdapter", "Likeness", "Shown"]

PROJECTION, LAYERS = "image_proj.", "ip_adapter."
PLAIN = "image_proj.proj.weight"  # reads the pooled picture; the others read CLIP's tokens
FACE_ID = "image_proj.norm.weight"  # with PLAIN it is the plain one's


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
            encoder: a folder or hub id with an image encoder; by default `image_encoder/` beside
                the file.
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
        _check(name, file.shapes, base)
        read = file.read()
        state = {
            head.removesuffix("."): {
                key.removeprefix(head): tensor
                for key, tensor in read.items()
                if key.startswith(head)
            }
            for head in (PROJECTION, LAYERS)
        }
        tower = load_vision_tower(
            _encoder_of(name, path, encoder, offline), device=device, dtype=dtype
        )
        width = state["image_proj"].get("proj.weight")
        if width is not None and width.shape[-1] != tower.config.projection_dim:
            raise CheckpointError(
                f"{name}: reads pictures in {width.shape[-1]} channels, the image encoder gives "
                f"{tower.config.projection_dim}; name its own with --image-encoder"
            )
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


def _check(name: str, shapes: Mapping[str, tuple[int, ...]], base: BaseModel) -> None:
    """Refuse what diffusers would stumble over, or read only in part."""
    other = [key for key in shapes if not key.startswith((PROJECTION, LAYERS))]
    if other or not any(key.startswith(PROJECTION) for key in shapes):
        raise CheckpointError(
            f"{name}: not an IP-Adapter: expected {PROJECTION}* and {LAYERS}*, got "
            f"{name_some(other or shapes) or 'nothing'}"
        )
    if FACE_ID in shapes and PLAIN not in shapes or any("lora" in key for key in shapes):
        raise CheckpointError(
            f"{name}: IP-Adapters for face ids, which read no picture, are not supported"
        )
    wanted: dict[str, tuple[int, ...]] = {}
    for place, path in enumerate(base.unet.attn_processors):
        layer: Any = base.unet.get_submodule(path.removesuffix(".processor"))
        if not path.endswith("attn1.processor"):
            for side in "kv":
                shape = (layer.to_k.out_features, base.unet.config["cross_attention_dim"])
                wanted[f"{LAYERS}{place}.to_{side}_ip.weight"] = shape
    got = {key: shape for key, shape in shapes.items() if key.startswith(LAYERS)}
    odd = [key for key in {**wanted, **got} if wanted.get(key) != got.get(key)]
    if odd:
        raise CheckpointError(
            f"{name}: this IP-Adapter is for another model, it does not fit at {name_some(odd)}"
        )


def _encoder_of(name: str, path: Path, encoder: str | None, offline: bool) -> Path:
    """The folder of the image encoder: the one that is named, or the one beside the file."""
    if encoder is not None:
        folder = Path(encoder)
        if not folder.exists():
            folder = fetch_files(
                encoder, lambda files: choose_part(files, f"{ENCODER}/"), offline=offline
            )
    else:
        folder = path.parent
        if not Path(name).exists():  # on the hub: only the file itself was fetched
            owner, repo, *inside = name.split("/")
            head = "/".join([*inside[:-1], ENCODER, ""])
            fetch_files(f"{owner}/{repo}", lambda files: choose_part(files, head), offline=offline)
    for place in (folder / ENCODER, folder):
        if (place / "config.json").is_file():
            return place
    raise CheckpointError(
        f"{name}: no image encoder: expected {ENCODER}/ beside it, or --image-encoder FOLDER"
    )
