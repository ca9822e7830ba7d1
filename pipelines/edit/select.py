"""Select: say which region the next edits are about; SEEM finds what has no outline yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from grounding.errors import PromptError
from grounding.geometry import box_iou
from grounding.jsonfile import describe
from grounding.masks import region_box
from grounding.part import Text
from grounding.prompt import GroundedPrompt
from grounding.region import NormalizedBox, Point, Region
from pipelines.edit.outline import outline
from pipelines.edit.regions import free_id, outlined, with_region
from pipelines.edit.scene import Scene
from pipelines.edit.step import Step
from pipelines.edit.studio import Studio

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Select"]

SAME = 0.5  # IoU of boxes from which a thing that was found is a region that was known
LEAST_SCORE = 0.5  # of what words find


class Select(Step):
    """Select by id, words, clicks, a box, or words that say which of those."""

    do: Literal["select"] = "select"
    phrase: Text | None = Field(default=None, description="Words; or the id of a region.")
    points: tuple[Point, ...] = Field(default=(), description="Clicks on it, or beside it.")
    box: NormalizedBox | None = Field(default=None, description="A box around it.")
    all: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="All that the phrase finds, not only the best."
    )

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        shown = bool(self.points) or self.box is not None
        if not ((self.phrase or "").strip() or shown):
            raise ValueError("select something: a region, words, a click or a box")
        if self.all and (shown or not self.phrase):
            raise ValueError("all is for words alone")
        return self

    def __call__(self, scene: Scene, studio: Studio) -> Scene:
        """Select; regions that are found get masks."""
        document, chosen = scene.document, []
        for region in self._found(scene, studio):
            document = with_region(document, region)
            chosen.append(region.id)
        said = ", ".join(_named(document.region(name)) for name in chosen)
        return scene.changed(document, selected=tuple(chosen), said=f"selected {said}")

    def _found(self, scene: Scene, studio: Studio) -> list[Region]:
        if self.points or self.box is not None:
            return [self._shown(scene, studio)]
        phrase = " ".join((self.phrase or "").split())
        regions = scene.document.regions
        known = [region for region in regions if region.id == phrase] or [
            region
            for region in regions
            if region.phrase == phrase and region_box(region) is not None
        ]
        if known and (self.all or len(known) == 1):
            return [outlined(region, outline(region, scene, studio)) for region in known]
        return self._named(phrase, scene, studio)

    def _shown(self, scene: Scene, studio: Studio) -> Region:
        """What is clicked on, or has a box around it."""
        predictor = studio.looking_at(scene.picture)
        width, height = scene.size
        scale = np.array([width, height])
        masks, scores, _ = predictor.predict(
            points=[np.array(point.xy) * scale for point in self.points] or None,
            labels=[point.label for point in self.points] or None,
            box=None if self.box is None else np.array(self.box) * np.tile(scale, 2),
            text=self.phrase,
        )
        if not masks[0].any():
            raise PromptError("nothing was found there: click on the middle of a thing")
        return _placed(scene.document, self.phrase or "", masks[0], float(scores[0]))

    def _named(self, phrase: str, scene: Scene, studio: Studio) -> list[Region]:
        """What words find."""
        [found] = studio.looking_at(scene.picture).find([phrase], threshold=LEAST_SCORE)
        if not len(found.masks):
            raise PromptError(
                f"nothing called {describe(phrase)} was found: click on it, or give its box"
            )
        document, regions = scene.document, []
        for mask, score in zip(found.masks, found.scores.tolist(), strict=True):
            region = _placed(document, phrase, mask, score)
            if all(one.id != region.id for one in regions):
                document = with_region(document, region)
                regions.append(region)
        return regions if self.all else regions[:1]


def _placed(document: GroundedPrompt, phrase: str, mask: Tensor, score: float) -> Region:
    """What was found, as the region that it is, or as a new one."""
    area = mask.cpu().numpy().astype(bool)
    new = outlined(Region(id=free_id(document), phrase=phrase), area)
    new = new.replace(score=min(1.0, max(0.0, score)))
    assert new.box is not None, "a region that is outlined has a box"
    best, overlap = None, SAME
    for region in document.regions:
        box = region_box(region)
        if box is None or (phrase and region.phrase and region.phrase != phrase):
            continue
        if box_iou(box, new.box) >= overlap:
            best, overlap = region, box_iou(box, new.box)
    if best is None:
        return new
    return outlined(best, area).replace(phrase=best.phrase or phrase, score=new.score)


def _named(region: Region) -> str:
    return f"{region.id} {region.phrase}".rstrip()
