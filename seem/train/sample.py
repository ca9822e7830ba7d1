"""Pictures of what a model in training finds: freely, and after one click on each thing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from seem.encoded_image import Resizing
from seem.model import Seem
from seem.predictor import Predictor
from seem.vocabulary import Vocabulary

__all__ = ["save_answers"]

COLUMNS = 8
ENLARGED = 2


def save_answers(
    model: Seem,
    tokenizer: Callable[..., Any],
    vocabulary: Vocabulary,
    size: int,
    images: Sequence[np.ndarray],
    path: Path,
) -> None:
    """Write a grid: below each picture its panoptic segments.

    Args:
        model: Is asked; stays in the mode it is in.
        tokenizer: Of its words.
        vocabulary: What to look for.
        size: Pixels of the shorter side as the model sees pictures.
        images: uint8 [H, W, 3], all of one size.
        path: PNG.
    """
    training = model.training
    predictor = Predictor(
        model, tokenizer, vocabulary=vocabulary, resizing=Resizing(short_side=size)
    )
    columns = []
    for image in images:
        predictor.set_image(image)
        found = predictor.panoptic()
        painted = image.copy()
        for segment in found.segments:
            inside = found.map.numpy() == segment.id
            colour = np.random.default_rng(segment.id).integers(40, 256, 3)
            painted[inside] = (0.4 * painted[inside] + 0.6 * colour).astype(np.uint8)
        pair = np.concatenate([image, painted])
        pair = cv2.resize(pair, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_LINEAR)
        row = image.shape[0] * ENLARGED
        names = ", ".join(vocabulary.names[s.label] for s in found.segments)
        cv2.putText(pair, names[:40], (3, row + 12), cv2.FONT_HERSHEY_PLAIN, 0.7, (255, 0, 80), 1)
        columns.append(pair)
    model.train(training)
    rows = [np.concatenate(columns[i : i + COLUMNS], 1) for i in range(0, len(columns), COLUMNS)]
    Image.fromarray(np.concatenate([r for r in rows if r.shape == rows[0].shape])).save(path)
