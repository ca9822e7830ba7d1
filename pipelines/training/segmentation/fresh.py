"""A SEEM from nothing, but for its words: these it has learned when training begins."""

import dataclasses

import torch

from grounding.stickers.tokenizer import build_tokenizer
from seem.config import CONFIGS
from seem.encoded_image import Resizing
from seem.mask_rules import MaskRules
from seem.model import build_seem
from seem.predictor import Predictor
from seem.train.recipes import Recipe
from seem.train.scenes import Lexicon
from seem.train.words import learn_words
from seem.vocabulary import Vocabulary

__all__ = ["fresh_predictor"]

FOCAL_START = 0.5  # FocalNet's layer scales, for models that start from nothing
SCALE_START = 3.0  # logarithm of the first scale of cosines
LEAST_PROBABILITY = 0.4  # of a panoptic segment; the best of 0.3 to 0.8 on training layouts


def fresh_predictor(
    recipe: Recipe, lexicon: Lexicon, vocabulary: Vocabulary, resizing: Resizing
) -> Predictor:
    """A model from nothing but for its text encoder, which knows its words and is done.

    Args:
        recipe: Names the model, and how long it learns words.
        lexicon: Its words.
        vocabulary: What it looks for.
        resizing: The size at which it sees pictures.
    """
    config = CONFIGS[recipe.config]
    tokenizer = build_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_seem(
            dataclasses.replace(
                config, vocabulary=len(tokenizer), text_context=tokenizer.model_max_length
            )
        )
    for name, parameter in model.backbone.named_parameters():
        if ".gamma_" in name:
            torch.nn.init.constant_(parameter, FOCAL_START)
    learn_words(model.text_encoder, tokenizer, lexicon, steps=recipe.words)
    torch.nn.init.constant_(model.text_encoder.logit_scale, SCALE_START)
    return Predictor(
        model,
        tokenizer,
        vocabulary=vocabulary,
        resizing=resizing,
        box_mode="outline",
        object_threshold=LEAST_PROBABILITY,
        rules=MaskRules(connected=True, corrected=True, wholes=True),
    )
