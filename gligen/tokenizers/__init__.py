"""Grounding tokenizers (`position_net` in the official code), one for each kind of grounding.

All of them are called with tensors that say what is where, masks last or beside what they mask, and
return [B, N, D] grounding tokens; `nothing(batch)` is what to call one with where there is nothing.
"""

from gligen.config import AdapterConfig
from gligen.tokenizers.keypoint import KeypointTokenizer
from gligen.tokenizers.map import MapTokenizer
from gligen.tokenizers.text_box import TextBoxTokenizer
from gligen.tokenizers.text_image_box import TextImageBoxTokenizer

__all__ = [
    "KeypointTokenizer",
    "MapTokenizer",
    "TextBoxTokenizer",
    "TextImageBoxTokenizer",
    "Tokenizer",
    "tokenizer_for",
]

Tokenizer = TextBoxTokenizer | TextImageBoxTokenizer | KeypointTokenizer | MapTokenizer


def tokenizer_for(config: AdapterConfig) -> Tokenizer:
    """A fresh tokenizer of the kind and the sizes that a config names."""
    common = {
        "out_dim": config.context_dim,
        "hidden_dim": config.hidden_dim,
    }
    if config.map is not None:
        return MapTokenizer(
            channels=config.map.channels,
            dims=config.map.dims,
            depths=config.map.depths,
            tokens=config.map.tokens,
            **common,
        )
    common["frequencies"] = config.frequencies
    if config.modality == "keypoint":
        return KeypointTokenizer(persons=config.max_persons, **common)
    if config.modality == "text_image":
        return TextImageBoxTokenizer(
            phrase_dim=config.phrase_dim, image_dim=config.image_dim, **common
        )
    return TextBoxTokenizer(phrase_dim=config.phrase_dim, **common)
