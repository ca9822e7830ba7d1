"""A tiny random SEEM in a folder of ours, with words and classes: everything but the knowledge."""

from dataclasses import replace
from pathlib import Path

import torch

from seem.config import CONFIGS
from seem.encoded_image import Resizing
from seem.model import build_seem
from seem.predictor import Predictor
from seem.vocabulary import Vocabulary
from tests.pipelines.conftest import LENGTH, tiny_tokenizer
from weights.predictor import save_predictor

CLASSES = Vocabulary(things=("llama", "dog"), stuff=("sky",), templates=("{}.",))


def write_segmenter(folder: Path) -> Path:
    """Write one; the same parameters each time."""
    tokenizer = tiny_tokenizer(folder.parent / f"{folder.name}-words")
    config = replace(CONFIGS["tiny"], vocabulary=len(tokenizer), text_context=LENGTH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_seem(config)
    resizing = Resizing(short_side=64, long_side=128)
    predictor = Predictor(model, tokenizer, vocabulary=CLASSES, resizing=resizing)
    return save_predictor(predictor, folder)
