"""A SEEM together with all that it needs to answer questions: words, classes, sizes.

| file                 | what it holds                                          |
|----------------------|--------------------------------------------------------|
| `model.safetensors`  | the parameters (`weights.seem`)                        |
| `config.json`        | what the model is made of (`weights.seem`)             |
| `predictor.json`     | classes, sentences, sizes, box mode, least probability |
| `tokenizer/`         | of its words, in transformers' format                  |

Official files hold the model alone: their predictor has the official sizes, and no words yet.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grounding.errors import CheckpointError, PromptError
from grounding.files import write_files
from seem.config import GroupingName
from seem.encoded_image import Resizing
from seem.marks import BoxMode
from seem.mask_rules import MaskRules
from seem.postprocess import OBJECT_THRESHOLD
from seem.predictor import Predictor
from seem.refined_predictor import RefinedPredictor
from seem.vocabulary import Vocabulary
from weights.own_folder import read_document
from weights.seem import WEIGHTS_NAME, load_seem, write_seem
from weights.tokenizer import load_sentence_tokenizer

__all__ = ["load_predictor", "save_predictor"]

FORMAT = "lavallama-seem-predictor"
FORMAT_VERSION = 1
SETTINGS_NAME = "predictor.json"
TOKENIZER_NAME = "tokenizer"


class _Settings(BaseModel):
    """The contents of `predictor.json`."""

    model_config = ConfigDict(extra="forbid")

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    things: list[str] = Field(default_factory=list)
    stuff: list[str] = Field(default_factory=list)
    templates: list[str] = Field(min_length=1)
    short_side: int
    long_side: int
    box_mode: BoxMode
    object_threshold: float = Field(default=OBJECT_THRESHOLD, ge=0, le=1)
    connected: bool = False
    corrected: bool = False
    wholes: bool = False


def load_predictor(
    source: str | Path,
    *,
    grouping: GroupingName | None = None,
    device: str = "cpu",
    offline: bool = False,
) -> Predictor:
    """Read a model, in float32, and make it ready for questions.

    A model with a mask refiner gives a `RefinedPredictor`.

    Args:
        source: A folder of ours, or what else `weights.seem.load_seem` takes.
        grouping: As for `load_seem`.
        device: Where the model computes.
        offline: Never use the network for the tokenizer.

    Raises:
        CheckpointError: Not a SEEM, incomplete, damaged, or its settings make no sense.
    """
    path = Path(source)
    model = load_seem(path, grouping=grouping).float().to(torch.device(device)).eval()
    folder = path.parent if path.name == WEIGHTS_NAME else path
    where = folder / SETTINGS_NAME
    kind = RefinedPredictor if model.refiner is not None else Predictor
    if not folder.is_dir() or not where.is_file():
        return kind(model.requires_grad_(False))
    settings = _read_settings(where)
    vocabulary = Vocabulary(
        things=tuple(settings.things),
        stuff=tuple(settings.stuff),
        templates=tuple(settings.templates),
    )
    tokenizer = load_sentence_tokenizer(folder / TOKENIZER_NAME, offline=offline)
    try:
        return kind(
            model.requires_grad_(False),
            tokenizer,
            vocabulary=vocabulary if vocabulary.names else None,
            resizing=Resizing(short_side=settings.short_side, long_side=settings.long_side),
            box_mode=settings.box_mode,
            object_threshold=settings.object_threshold,
            rules=MaskRules(
                connected=settings.connected, corrected=settings.corrected, wholes=settings.wholes
            ),
        )
    except PromptError as error:
        raise CheckpointError(f"{where}: {error}") from None


def save_predictor(predictor: Predictor, folder: Path) -> Path:
    """Write a predictor so that `load_predictor` gives it back; parameters keep their type.

    Raises:
        CheckpointError: It has no tokenizer.
        OutputError: The place cannot be written.
    """
    tokenizer: Any = predictor.words.tokenizer
    if tokenizer is None:
        raise CheckpointError("a predictor is saved with its tokenizer; this one has none")
    vocabulary = predictor.vocabulary
    settings = _Settings(
        things=[] if vocabulary is None else list(vocabulary.things),
        stuff=[] if vocabulary is None else list(vocabulary.stuff),
        templates=list(predictor.words.templates),
        short_side=predictor.resizing.short_side,
        long_side=predictor.resizing.long_side,
        box_mode=predictor.box_mode,
        object_threshold=predictor.object_threshold,
        **asdict(predictor.rules),
    )
    write_seem(predictor.model.state_dict(), predictor.model.config, folder)
    tokenizer.save_pretrained(folder / TOKENIZER_NAME)
    text = json.dumps(settings.model_dump(), indent=2) + "\n"
    write_files({folder / SETTINGS_NAME: text.encode()})
    return folder


def _read_settings(where: Path) -> _Settings:
    document = read_document(where, FORMAT, FORMAT_VERSION)
    try:
        return _Settings.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{where}: {place}: {first['msg']}") from None
