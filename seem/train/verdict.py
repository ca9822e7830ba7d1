"""What a model can do with pictures that it did not learn from: numbers, and a sheet to look at.

Axes: H W a picture. Words are asked for where their things are and where they are not, so that what
is found where nothing is counts against the precision.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from tqdm import tqdm

from grounding.draw import draw_regions
from grounding.masks import bitmap_to_rle
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from seem.clicks import iou
from seem.evaluation.coco_source import MIN_AREA
from seem.evaluation.sample import Sample, Search, Truth
from seem.evaluation.tasks import ALL, ClickTask, MarkTask, PhraseTask, objects
from seem.predictor import Predictor
from seem.train.scenes import Record

__all__ = ["CLICKS", "Measured", "draw_sheet", "make_sample", "measure"]

CLICKS = (1, 3, 5)
ABSENT = 4  # names that are asked for where they are not, on each picture
THING = "things"
SHOWN = 8  # pictures of a sheet
PANEL, GAP, TITLE = 320, 8, 28  # pixels
TITLES = ("what is there", "by words, before", "by words, after", "one click, after")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one model, on some pictures.

    Attributes:
        clicks: Mean IoU after each number of `CLICKS`.
        box: Mean IoU for a box around each thing.
        recall: Share of the things that their word finds with an IoU of 0.5.
        precision: Share of what words find that is such a thing.
    """

    clicks: tuple[float, ...]
    box: float
    recall: float
    precision: float

    @classmethod
    def from_dict(cls, values: Any) -> "Measured":
        """As `dataclasses.asdict` and JSON have it; raises as a wrong call does."""
        return cls(**{**values, "clicks": tuple(values["clicks"])})


def make_sample(
    name: str,
    image: UInt8[np.ndarray, "H W 3"],
    owners: UInt8[np.ndarray, "H W"],
    record: Record,
    names: Sequence[str],
    place: int,
) -> Sample:
    """A picture with what may be asked about it.

    Args:
        name: Of the picture.
        image: RGB.
        owners: Whose each pixel is (`seem.train.scenes.Scenes.read`).
        record: What its objects are called.
        names: All that may be asked for.
        place: Of the picture among others: it decides which names are asked for in vain.
    """
    truths = []
    for number, concept in enumerate(record.concepts, 1):
        mask = owners == number
        asked = concept is not None and mask.mean() >= MIN_AREA
        label = names.index(concept) if concept is not None else None
        truths.append(Truth(mask=mask, label=label, group=THING if asked else ""))
    here = dict.fromkeys(name for name in record.concepts if name)
    others = [name for name in names if name not in here]
    begin = place * ABSENT % max(1, len(others))
    asked_for = [*here, *(others[begin:] + others[:begin])[:ABSENT]]
    searches = [
        Search(
            text=text,
            targets=tuple(i for i, one in enumerate(record.concepts) if one == text),
            kind=THING,
        )
        for text in asked_for
    ]
    return Sample(name=name, image=image, truths=tuple(truths), searches=tuple(searches))


def measure(predictor: Predictor, samples: Iterable[Sample], title: str) -> Measured:
    """Ask a model about pictures: clicks, boxes, words.

    Args:
        predictor: With words.
        samples: At least one with a thing.
        title: Of the progress bar.
    """
    clicks, boxes, words = ClickTask(rounds=max(CLICKS)), MarkTask("box"), PhraseTask()
    for sample in tqdm(samples, title, disable=None, leave=False):
        predictor.set_image(sample.image)
        for task in (clicks, boxes, words):
            task.add(predictor, sample)
    reached = clicks.result().get(ALL, {"iou": {}})["iou"]
    found = words.result()["searches"].get(ALL, {})
    return Measured(
        clicks=tuple(reached.get(str(count), 0.0) for count in CLICKS),
        box=boxes.result().get(ALL, {"iou": 0.0})["iou"],
        recall=found.get("recall50", 0.0),
        precision=found.get("precision50", 0.0),
    )


def draw_sheet(
    before: Predictor, after: Predictor, samples: Sequence[Sample], names: Sequence[str]
) -> Image.Image:
    """Pictures in rows: the truth; what words find, before and after; after one click on each.

    Args:
        before: The model as it was.
        after: The model as it is.
        samples: The first `SHOWN` of them are shown.
        names: What is looked for.
    """
    rows = [_titles()]
    for sample in samples[:SHOWN]:
        regions = [_truth(sample, names)]
        for predictor in (before, after):
            predictor.set_image(sample.image)
            regions.append(_find(predictor, names))
        regions.append(_click(after, sample, names))
        rows.append(np.concatenate([_cell(sample.image, some) for some in regions], 1))
    return Image.fromarray(np.concatenate(rows))


def _titles() -> UInt8[np.ndarray, "h w 3"]:
    band = np.full((TITLE, len(TITLES) * (PANEL + GAP), 3), 255, np.uint8)
    for place, title in enumerate(TITLES):
        at = (place * (PANEL + GAP) + GAP, TITLE - GAP)
        cv2.putText(band, title, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return band


def _cell(image: np.ndarray, regions: Sequence[Region]) -> UInt8[np.ndarray, "h w 3"]:
    """A picture with regions, in the corner of a white square."""
    drawn = draw_regions(Image.fromarray(image), GroundedPrompt(regions=tuple(regions)))
    drawn.thumbnail((PANEL, PANEL), Image.Resampling.LANCZOS)
    cell = np.full((PANEL + GAP, PANEL + GAP, 3), 255, np.uint8)
    cell[: drawn.height, : drawn.width] = np.asarray(drawn)
    return cell


def _region(name: str, mask: Bool[np.ndarray, "H W"], score: float | None) -> list[Region]:
    """A region; none of an empty mask."""
    rle = bitmap_to_rle(mask) if mask.any() else None
    return [] if rle is None else [Region(phrase=name, mask=rle, score=score)]


def _truth(sample: Sample, names: Sequence[str]) -> list[Region]:
    return [
        region
        for truth in sample.truths
        if truth.label is not None
        for region in _region(names[truth.label], truth.mask, None)
    ]


def _find(predictor: Predictor, names: Sequence[str]) -> list[Region]:
    return [
        region
        for found in predictor.find(names)
        for mask, score in zip(found.masks.cpu().numpy(), found.scores.tolist(), strict=True)
        for region in _region(found.text, mask, score)
    ]


def _click(predictor: Predictor, sample: Sample, names: Sequence[str]) -> list[Region]:
    """What one click on each thing finds, with its IoU."""
    regions = []
    for _, truth in objects(sample):
        mask = ClickTask(rounds=1).click(predictor, truth.mask).masks[1]
        name = "" if truth.label is None else names[truth.label]
        regions += _region(name, mask, iou(truth.mask, mask))
    return regions
