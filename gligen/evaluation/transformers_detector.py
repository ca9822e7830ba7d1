"""Object detectors of transformers: those with classes of their own, and those that take any words.

Axes: H W the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from gligen.evaluation.detection import Detection, compare_attributes
from grounding.errors import CheckpointError, LavallamaError, OfflineError
from grounding.geometry import Box, clip_xyxy, pixels_to_normalized

__all__ = ["TransformersDetector", "load_detector"]

FLOOR = 0.01  # less certain detections are dropped: COCO's AP hardly sees them
CLOSED_THRESHOLD = 0.5  # what object detectors are usually read with
OPEN_THRESHOLD = 0.25  # COCO-MIG's, for Grounding DINO
OWL_THRESHOLD = 0.1  # OWL-ViT's own
OWLS = ("owlvit", "owlv2")  # these look for many texts at once, each for itself

# Classes of COCO as darknet and PaddleDetection spell them, as RT-DETR does too.
DARKNET = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


class TransformersDetector:
    """A model and its processor.

    One with classes of its own finds those alone, by their names. One that takes words looks for
    each text by itself.
    """

    def __init__(
        self, model: Any, processor: Any, *, name: str, threshold: float | None = None
    ) -> None:
        """Join the two.

        Args:
            model: An `AutoModelForObjectDetection` or `AutoModelForZeroShotObjectDetection`.
            processor: Its image processor, or the processor of images and texts.
            name: For the report.
            threshold: The score from which a detection counts; None: 0.5 for one with classes,
                0.1 for OWL-ViT, 0.25 for others that take words.
        """
        self.model, self.processor, self.name = model.eval(), processor, name
        self.open = hasattr(processor, "post_process_grounded_object_detection")
        self.tells_attributes = self.open
        self.classes: dict[str, int] = {}
        if not self.open:
            names = {_plain(label): int(i) for i, label in model.config.id2label.items()}
            self.classes = {DARKNET[n]: i for n, i in names.items() if n in DARKNET} | names
        if threshold is None and self.open:
            threshold = OWL_THRESHOLD if model.config.model_type in OWLS else OPEN_THRESHOLD
        self.threshold = CLOSED_THRESHOLD if threshold is None else threshold

    def knows(self, text: str) -> bool:
        """Tell whether it is one of the classes; any words are known to a model that takes them."""
        return self.open or _plain(text) in self.classes

    def view(self, image: UInt8[np.ndarray, "H W 3"]) -> "_View":
        """Look at a picture."""
        return _View(self, image)

    @torch.no_grad()
    def detect(self, image: np.ndarray, texts: Sequence[str]) -> list[Detection]:
        """Find the objects of some texts on one picture."""
        if not self.open:
            return self._of_classes(image, texts)
        together = self.model.config.model_type in OWLS
        groups = [list(texts)] if together else [[text] for text in texts]
        return [found for group in groups if group for found in self._of_texts(image, group)]

    def _of_classes(self, image: np.ndarray, texts: Sequence[str]) -> list[Detection]:
        wanted = {self.classes[_plain(text)]: text for text in texts if self.knows(text)}
        inputs = self.processor(images=[image], return_tensors="pt").to(self.model.device)
        [found] = self.processor.post_process_object_detection(
            self.model(**inputs), threshold=FLOOR, target_sizes=[image.shape[:2]]
        )
        labels = [wanted.get(int(label)) for label in found["labels"]]
        return _detections(found, labels, image)

    def _of_texts(self, image: np.ndarray, texts: list[str]) -> list[Detection]:
        words = [text.replace(".", " ") for text in texts]  # to Grounding DINO "." ends a text
        inputs = self.processor(images=[image], text=[words], return_tensors="pt")
        inputs = inputs.to(self.model.device)
        [found] = self.processor.post_process_grounded_object_detection(
            self.model(**inputs), threshold=FLOOR, target_sizes=[image.shape[:2]]
        )
        if len(texts) == 1:
            labels = texts * len(found["scores"])
        else:
            labels = [texts[int(label)] for label in found["labels"]]
        return _detections(found, labels, image)


@dataclass(frozen=True, eq=False)
class _View:
    """One picture."""

    detector: TransformersDetector
    image: UInt8[np.ndarray, "H W 3"]

    def find(self, texts: Sequence[str]) -> list[Detection]:
        """Find all objects of some texts."""
        return self.detector.detect(self.image, texts)

    def attribute(self, box: Box, noun: str, choices: Sequence[str]) -> str | None:
        """Tell an attribute by words; a detector with classes of its own tells none."""
        return compare_attributes(self, box, noun, choices) if self.detector.open else None


def load_detector(
    source: str,
    *,
    device: torch.device,
    offline: bool = False,
    threshold: float | None = None,
    name: str | None = None,
) -> TransformersDetector:
    """Load a detector of transformers.

    Args:
        source: A folder or a hub id.
        device: Where it runs.
        offline: Never use the network.
        threshold: The score from which a detection counts; None: the kind's usual.
        name: What it is called; None: the folder's name, or the hub id.

    Raises:
        CheckpointError: it is no object detector, or broken.
        OfflineError: it is neither here nor reachable.
        LavallamaError: its processor needs a package that is not installed.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoProcessor
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_OBJECT_DETECTION_MAPPING,
        MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING,
    )

    here = Path(source).is_dir()
    options: dict[str, Any] = {"local_files_only": offline or here, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(source, **options)
        mappings = MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING, MODEL_FOR_OBJECT_DETECTION_MAPPING
        kinds: list[Any] = [mapping for mapping in mappings if type(config) in mapping]
        if not kinds:
            raise CheckpointError(
                f"{source}: expected an object detector of transformers, got a model of the type "
                f"{config.model_type!r}"
            )
        model = kinds[0][type(config)].from_pretrained(
            source, config=config, local_files_only=offline or here
        )
        loader = AutoProcessor if kinds[0] is mappings[0] else AutoImageProcessor
        processor = loader.from_pretrained(source, **options)
    except ImportError as error:
        raise LavallamaError(f"{source}: {str(error).strip().splitlines()[0]}") from error
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        if isinstance(error, LavallamaError):
            raise
        raise _unreadable(source, here, error) from error
    called = name or (Path(source).name if here else source)
    return TransformersDetector(model.to(device), processor, name=called, threshold=threshold)


def _unreadable(source: str, here: bool, error: Exception) -> LavallamaError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "trust_remote_code" in str(error):
        return CheckpointError(f"{source}: needs code of its own, which is never run")
    if here:
        return CheckpointError(f"{source}: cannot be read as a detector of transformers: {reason}")
    return OfflineError(
        f"{source}: no such folder, and no detector of that name can be had from the hub: {reason}"
    )


def _detections(found: Any, labels: Sequence[str | None], image: np.ndarray) -> list[Detection]:
    """Detections of post-processing, boxes xyxy pixels; those without a label are left out."""
    size = image.shape[1], image.shape[0]
    detections = []
    boxes, scores = found["boxes"].tolist(), found["scores"].tolist()
    for text, box, score in zip(labels, boxes, scores, strict=True):
        placed = clip_xyxy(pixels_to_normalized(tuple(box), size))
        if text is not None and placed is not None:
            detections.append(Detection(text=text, box=placed, score=score))
    return detections


def _plain(label: str) -> str:
    """A class's name in lower case, as COCO writes it."""
    return " ".join(label.lower().split())
