"""What a GLIGEN adapter is: its modality and its sizes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from grounding.errors import LavallamaError
from grounding.joints import JOINTS

__all__ = ["BOX_MODALITIES", "MAPS", "MODALITIES", "AdapterConfig", "MapConfig", "Modality"]

Modality = Literal["text", "text_image", "keypoint", "hed", "canny", "depth", "normal", "sem"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
BOX_MODALITIES = ("text", "text_image")

HED_CHANNELS = 1
CLASSES = 152  # ADE20K's 150, "other" and "no label", as the official semantic maps count


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """Sizes of what reads a map; the defaults are the released code's for one of three colours.

    Attributes:
        channels: of the map.
        tokens: that it becomes, on a square grid.
        dims: channels of the ConvNeXt's stages.
        depths: blocks of its stages.
        read_channels: of the map's, that the downsampler reads.
        hidden_channels: of the downsampler; 0 for none (HED: the map itself, small).
        extra_channels: beside the latents.
    """

    channels: int = 3
    tokens: int = 64
    dims: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (3, 3, 9, 3)
    read_channels: int = 1
    hidden_channels: int = 4
    extra_channels: int = 8

    def __post_init__(self) -> None:
        for name in ("dims", "depths"):  # lists, if they come from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))


MAPS: dict[str, MapConfig] = {
    "hed": MapConfig(hidden_channels=0, extra_channels=HED_CHANNELS),
    "canny": MapConfig(),
    "depth": MapConfig(),
    "normal": MapConfig(read_channels=3),
    "sem": MapConfig(channels=CLASSES, read_channels=CLASSES, hidden_channels=16),
}


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What an adapter is, apart from the sizes that it takes from its UNet.

    Attributes:
        modality: what grounding tokens are made of: "text" (phrase and box), "text_image" (phrase,
            picture or both, and box), "keypoint" (joints of people), or a map of the whole canvas:
            "hed" (soft edges), "canny", "depth", "normal", "sem" (classes).
        inpainting: the first convolution also reads [known latents, mask] (boxes only).
        max_boxes: regions of one image, N.
        max_persons: people of one image ("keypoint").
        phrase_dim: channels of a phrase embedding: 768 of CLIP-L, 2048 for SDXL.
        image_dim: channels of a reference picture's embedding ("text_image").
        context_dim: channels of a grounding token, by custom those of the UNet's text context.
        hidden_dim: width of the tokenizer's MLP.
        frequencies: steps of the coordinates' Fourier ladder.
        position_features: tell visual tokens their place inside the gate (extra parameters).
        field_dim: width of the neural field in the boxes' own coordinates (`gligen.box_field`),
            whose features every gate is told; 0: no field. For "text" only.
        map: sizes of what reads a map; those of the released code if None and there is to be one.

    Raises:
        LavallamaError: an unknown modality, or one that cannot have what is asked for.
    """

    modality: Modality = "text"
    inpainting: bool = False
    max_boxes: int = 30
    max_persons: int = 8
    phrase_dim: int = 768
    image_dim: int = 768
    context_dim: int = 768
    hidden_dim: int = 512
    frequencies: int = 8
    position_features: bool = False
    field_dim: int = 0
    map: MapConfig | None = None

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise LavallamaError(
                f"modality must be one of {', '.join(MODALITIES)}; got {self.modality!r}"
            )
        if self.inpainting and self.modality not in BOX_MODALITIES:
            raise LavallamaError(
                f"adapters inpaint with boxes ({' or '.join(BOX_MODALITIES)}); "
                f"{self.modality!r} cannot"
            )
        if self.field_dim and self.modality != "text":
            raise LavallamaError(
                f"a box field is for the modality 'text'; got {self.modality!r}: set field_dim to 0"
            )
        sizes = self.map
        if (self.modality in MAPS) != (sizes is not None):
            if sizes is not None:
                raise LavallamaError(f"the modality {self.modality!r} reads no map: leave out map")
            object.__setattr__(self, "map", MAPS[self.modality])

    @property
    def token_count(self) -> int:
        """Grounding tokens of one image."""
        if self.map is not None:
            return self.map.tokens
        if self.modality == "keypoint":
            return self.max_persons * len(JOINTS)
        return self.max_boxes * (2 if self.modality == "text_image" else 1)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "AdapterConfig":
        """Read a config back from what `dataclasses.asdict` made of it, also through JSON.

        Raises:
            LavallamaError: an unknown name, or a value that makes no sense.
        """
        sizes = values.get("map")
        if isinstance(sizes, MapConfig):
            sizes = asdict(sizes)
        for kind, content in ((cls, values), (MapConfig, sizes or {})):
            known = {one.name for one in fields(kind)}
            if not isinstance(content, Mapping) or set(content) - known:
                raise LavallamaError(f"expected a config of {', '.join(sorted(known))}")
        return cls(**{**values, "map": None if sizes is None else MapConfig(**sizes)})
