"""The numbers that make a SEEM model, and the published models by name.

Axes: none; this file holds no tensors.

Values are those of the official configuration files (github.com/UX-Decoder/
Segment-Everything-Everywhere-All-At-Once, branch v1.0, `configs/seem/*.yaml`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

from grounding.errors import CheckpointError, LavallamaError
from seem.backbones import (
    BackboneConfig,
    DaViTConfig,
    FocalNetConfig,
    NanoDetConfig,
    SamViTConfig,
)
from seem.backbones.davit import DAVITS
from seem.backbones.focalnet import FOCALNETS
from seem.backbones.sam_vit import SAM_VITS
from seem.refiner import RefinerConfig

__all__ = ["CONFIGS", "BackboneConfig", "GroupingName", "SeemConfig"]

GroupingName = Literal["demo", "v0", "v1"]
PixelDecoderName = Literal["fpn", "deformable"]

_BACKBONES: dict[str, type[BackboneConfig]] = {
    "focalnet": FocalNetConfig,
    "davit": DaViTConfig,
    "sam_vit": SamViTConfig,
    "nanodet": NanoDetConfig,
}


@dataclass(frozen=True, kw_only=True)
class SeemConfig:
    """One SEEM model.

    Attributes:
        backbone: The image encoder; its class says which one.
        pixel_decoder: "fpn" (a transformer on the coarsest map, then a feature pyramid) or
            "deformable" (deformable attention over three maps; SAM backbones).
        grouping: Who attends to whom in the decoder: "demo", "v0" or "v1"
            (`seem.attention_groups`). The parameters are the same.
        dim: Channels of queries, tokens and mask features.
        heads: Attention heads of the decoder and the pixel decoder.
        layers: Decoder layers (the official DEC_LAYERS counts the initial prediction too).
        feed_forward: Hidden channels of a decoder layer's feed-forward network.
        queries: Learned queries.
        queries_per_object: Queries that a "v1" decoder gives to each object.
        memories: Learned tokens that look at the previous mask.
        max_prompt_pixels: Most pixels read of an object's positive bitmap, and of its negative one.
        mark_positions: Whether a token of a drawing knows where on the image it lies, as SAM's
            clicks do (arXiv 2304.02643, section 3): it tells twins apart. The published models'
            tokens do not.
        encoder_layers: Layers of the pixel decoder's transformer.
        encoder_feed_forward: Hidden channels of those layers.
        text_width: Channels inside the text encoder.
        text_layers: Blocks of the text encoder.
        text_heads: Its attention heads.
        text_context: Its longest text, in tokens.
        vocabulary: Its number of different tokens.
        refiner: What makes masks of drawn objects sharp (`seem.refiner`); None, as in the published
            models: their queries' masks stay as they are.
    """

    backbone: BackboneConfig
    pixel_decoder: PixelDecoderName = "fpn"
    grouping: GroupingName = "v1"
    dim: int = 512
    heads: int = 8
    layers: int = 9
    feed_forward: int = 2048
    queries: int = 101
    queries_per_object: int = 3
    memories: int = 32
    max_prompt_pixels: int = 512
    mark_positions: bool = False
    encoder_layers: int = 6
    encoder_feed_forward: int = 2048
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    text_context: int = 77
    vocabulary: int = 49408
    refiner: RefinerConfig | None = None

    def __post_init__(self) -> None:
        for name, choices in (("grouping", GroupingName), ("pixel_decoder", PixelDecoderName)):
            if getattr(self, name) not in get_args(choices):
                raise LavallamaError(
                    f"{name} must be one of {', '.join(get_args(choices))}; "
                    f"got {getattr(self, name)!r}"
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them."""
        kinds = {kind: name for name, kind in _BACKBONES.items()}
        values = asdict(self)
        values["backbone"] = {"kind": kinds[type(self.backbone)], **values["backbone"]}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SeemConfig":
        """The model that `as_dict` described.

        Raises:
            CheckpointError: a value is missing, unknown or impossible.
        """
        backbone = dict(values.get("backbone") or {})
        kind = backbone.pop("kind", None)
        if kind not in _BACKBONES:
            raise CheckpointError(
                f"a SEEM config names its backbone's kind, one of {', '.join(_BACKBONES)}; "
                f"got {kind!r}"
            )
        try:
            built = _BACKBONES[kind](**_tuples(_BACKBONES[kind], backbone))
            refiner = values.get("refiner")
            if refiner is not None:
                refiner = RefinerConfig(**_tuples(RefinerConfig, refiner))
            return cls(**_tuples(cls, values, backbone=built, refiner=refiner))
        except TypeError as error:
            raise CheckpointError(f"a SEEM config that this version cannot read: {error}") from None


def _tuples(kind: type, values: Mapping[str, Any], **replaced: Any) -> dict[str, Any]:
    """JSON's lists as the tuples that frozen configs hold; unknown names are an error."""
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise CheckpointError(
            f"a {kind.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    return {k: tuple(v) if isinstance(v, list) else v for k, v in {**values, **replaced}.items()}


STICKER_TOKENS = 916  # of the sticker world's tokenizer

_DEFORMABLE: dict[str, Any] = {"pixel_decoder": "deformable", "encoder_feed_forward": 1024}

CONFIGS: Mapping[str, SeemConfig] = MappingProxyType(
    {
        **{name: SeemConfig(backbone=focal) for name, focal in FOCALNETS.items()},
        **{name: SeemConfig(backbone=davit) for name, davit in DAVITS.items()},
        **{name: SeemConfig(backbone=sam, **_DEFORMABLE) for name, sam in SAM_VITS.items()},
        "stickers": SeemConfig(
            backbone=FocalNetConfig(dim=40, depths=(1, 2, 6, 2), focal_levels=2, block="plain"),
            dim=96,
            layers=6,
            feed_forward=384,
            queries=20,
            memories=8,
            max_prompt_pixels=48,
            mark_positions=True,
            encoder_layers=2,
            encoder_feed_forward=384,
            text_width=128,
            text_layers=2,
            text_heads=4,
            text_context=40,
            vocabulary=STICKER_TOKENS,
        ),
        "photographs": SeemConfig(
            backbone=NanoDetConfig(),
            dim=64,
            heads=4,
            layers=3,
            feed_forward=256,
            queries=16,
            queries_per_object=4,
            memories=4,
            max_prompt_pixels=48,
            mark_positions=True,
            encoder_layers=1,
            encoder_feed_forward=256,
            text_width=128,
            text_layers=2,
            text_heads=4,
            text_context=40,
            vocabulary=STICKER_TOKENS,
            refiner=RefinerConfig(),
        ),
        "tiny": SeemConfig(
            backbone=FocalNetConfig(dim=16, depths=(1, 1, 1, 1), focal_levels=2),
            dim=32,
            heads=4,
            layers=3,
            feed_forward=64,
            queries=12,
            memories=4,
            max_prompt_pixels=64,
            encoder_layers=1,
            encoder_feed_forward=64,
            text_width=32,
            text_layers=1,
            text_heads=4,
            text_context=16,
            vocabulary=128,
        ),
    }
)
"""The published models as "v1", the embedded one ("stickers"), and one for tests ("tiny");
`dataclasses.replace` changes the grouping."""
