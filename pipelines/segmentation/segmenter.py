"""Opening a SEEM by name: the embedded one, a folder of ours, an official file, a hub id."""

from pathlib import Path

from grounding.cache_folder import cache_folder
from grounding.errors import CheckpointError
from pipelines.device import choose_device
from pipelines.segmentation.bundled import BundledPredictor
from seem.coco_classes import COCO_CLASSES
from seem.config import GroupingName
from seem.predictor import Predictor
from seem.words import Words
from weights.class_vectors import ClassVectors
from weights.hub import fetch_segmenter
from weights.predictor import load_predictor
from weights.registry import (
    EMBEDDED,
    PHOTOGRAPHS,
    SEGMENTERS,
    STICKERS,
    embedded,
    lookup_segmenter,
)
from weights.tokenizer import defer_tokenizer

__all__ = ["find_segmenter", "open_predictor"]

BUNDLED = {STICKERS: "seem", PHOTOGRAPHS: "seem_photographs"}  # folders of `weights/embedded`


def open_predictor(
    model: str | Path = EMBEDDED,
    *,
    device: str = "auto",
    offline: bool = False,
    grouping: GroupingName | None = None,
) -> Predictor:
    """Open a SEEM and make it ready for questions.

    Args:
        model: "embedded" (for each picture the bundled model that knows such pictures), one of the
            two by name ("stickers", "photographs"), a folder of ours, an official `.pt` file, a
            short name of `weights.registry.SEGMENTERS` such as "seem-focalt", or a hub id,
            `owner/name` or `owner/name/file.pt`.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        offline: Never use the network.
        grouping: Who attends to whom; None: what the name or the folder says, else "v1".

    Returns:
        The predictor. An official file brings no words: its classes are COCO's, and CLIP's
        tokenizer is taken from the folder `tokenizer` beside it, else the one that ships with
        lavallama.

    Raises:
        LavallamaError: Any of this cannot be had, in one line.
    """
    if str(model) == EMBEDDED:
        return BundledPredictor(
            lambda name: open_predictor(name, device=device, offline=offline, grouping=grouping)
        )
    where = choose_device(device)
    known = lookup_segmenter(str(model))
    if grouping is None and known is not None:
        grouping = known.grouping
    path = find_segmenter(model, offline=offline)
    predictor = load_predictor(path, grouping=grouping, device=str(where), offline=offline)
    if predictor.words.tokenizer is None:
        predictor.vocabulary = COCO_CLASSES
        _give_words(predictor, path)
    _give_memory(predictor.words)
    return predictor


def find_segmenter(model: str | Path = EMBEDDED, *, offline: bool = False) -> Path:
    """Find the files of a model, downloading those that are not here.

    Raises:
        CheckpointError: There is no such file, folder or name.
        OfflineError: They must be downloaded and cannot be.
    """
    if str(model) in BUNDLED:
        return embedded(BUNDLED[str(model)])
    path = Path(model)
    if str(model) and str(model) not in SEGMENTERS and path.exists():
        return path
    if isinstance(model, Path) or path.is_absolute() or str(model).startswith((".", "~")):
        raise CheckpointError(
            f"{model}: no such file or folder; expected an official .pt file, a folder of ours, "
            f"or a name: {', '.join((EMBEDDED, *BUNDLED, *SEGMENTERS))}"
        )
    return fetch_segmenter(str(model), offline=offline)


def _give_words(predictor: Predictor, path: Path) -> None:
    """Add the tokenizer beside an official file, else the one that ships with lavallama."""
    beside = path.parent / "tokenizer"
    tokenizer = defer_tokenizer(beside if beside.is_dir() else embedded("clip_tokenizer"))
    predictor.words = Words(predictor.model.text_encoder, tokenizer)


def _give_memory(words: Words) -> None:
    """Keep the vectors of class names on disk, where each stands in many sentences."""
    folder = cache_folder("classes")
    if folder is None or words.tokenizer is None or len(words.templates) == 1:
        return
    words.kept = ClassVectors(folder, words.encoder, words.tokenizer, words.templates)
