"""What SEEM's golden files were made with: strides, configurations, parameters by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from seem.config import CONFIGS
from seem.model import Seem, build_seem
from tests.parity import seem_inputs as inputs

RES_CHANNEL_STRIDE = 12  # of backbone.res2 in the files


@dataclass(frozen=True, kw_only=True)
class Strides:
    """How the files thin out what grows with the image."""

    image: int = 16
    preprocessed: int = 16
    backbone: tuple[int, ...] = (8, 4, 2, 1)
    mask_features: tuple[int, int] = (7, 8)
    multi_scale: tuple[int, ...] = (1, 2, 4)
    seg_masks: int = 4
    aux_masks: int = 12
    mask: int = 3


SAM_STRIDES = Strides(
    image=32,
    preprocessed=64,
    backbone=(32, 16, 8, 4),
    mask_features=(32, 32),
    multi_scale=(4, 8, 16),
    seg_masks=16,
    aux_masks=48,
    mask=12,
)


def official_key(ours: str) -> str:
    """The official name of one of our parameters, written down a second time as a check."""
    part, _, rest = ours.partition(".")
    if part == "backbone":
        return ours
    if part == "pixel_decoder":
        return f"sem_seg_head.pixel_decoder.{rest}"
    if part == "text_encoder":
        official = {"projection": "lang_proj", "logit_scale": "logit_scale"}
        return f"sem_seg_head.predictor.lang_encoder.{official.get(rest, 'lang_encoder.' + rest)}"
    rest = rest.replace("spatial_projection", "mask_sptial_embed")
    return f"sem_seg_head.predictor.{rest}"


@cache
def filled(name: str) -> Seem:
    """A model whose parameters are functions of their official names; one form serves all."""
    with torch.device("meta"):
        model = build_seem(CONFIGS[name])
    state = model.state_dict()
    values = {k: torch.from_numpy(inputs.fill(official_key(k), v.shape)) for k, v in state.items()}
    model.load_state_dict(values, assign=True)
    return model.requires_grad_(False).eval()


def recognise(golden: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """The configuration and the grouping that made a file, from its arrays.

    SAM's two sizes have maps of the same shapes; the smaller one is taken.
    """
    slices = golden["backbone.res2"].shape[1]
    sam = tuple(golden["preprocessed.shape"][-2:]) == (1024, 1024)
    names = ("samvitb",) if sam else ("focalt", "focall", "davitd3", "davitd5")
    widths = {"focalt": 96, "focall": 192, "davitd3": 128, "davitd5": 256, "samvitb": 128}
    name = next(n for n in names if -(-widths[n] // RES_CHANNEL_STRIDE) == slices)
    if "point.picked_queries" in golden:
        return name, "v1"
    return name, "demo" if any(array.endswith(".class") for array in golden) else "v0"
