"""Newcomers: a thing drawn into a picture, and where it then is.

Axes: H x W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from grounding.geometry import box_iou
from grounding.masks import bitmap_to_box, box_to_bitmap
from grounding.prompt import Region
from pipelines.edit.matte import grown, laid, matte
from pipelines.edit.outline import sought
from pipelines.edit.regions import captioned, outlined, setting, uncovered, with_region
from pipelines.edit.repaint import Repainting
from pipelines.edit.scene import Scene
from pipelines.edit.studio import Studio

__all__ = ["Newcomer"]

FOUND = 0.5  # IoU of the box that was found with the one that was drawn
RIM = 0.02  # of the shorter side: kept around what was found, so that nothing of it is cut off


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """How a thing is drawn.

    Attributes:
        region: with a phrase and a box; takes the place of the region of its id.
        seed: of the drawing.
        steps: of denoising; None: the model's own.
        feather: pixels over which its edge fades.
        whole: the whole box is drawn anew, not only the thing in it.
    """

    region: Region
    seed: int
    steps: int | None
    feather: int
    whole: bool

    def drawn(self, scene: Scene, studio: Studio) -> Scene:
        """Draw it into a scene, in front of everything that it covers.

        Of the box that the model draws, only the thing that SEEM finds in it is taken, so that the
        picture around it stays as it is; all of the box, if none is found.
        """
        box, around = self.region.box, setting(scene.document)
        assert box is not None, "a newcomer has a box"
        document = captioned(with_region(scene.document, self.region), around)
        painted = Repainting(
            prompt=document.prompt,
            phrase=self.region.phrase,
            box=box,
            seed=self.seed,
            sampling=document.sampling,
            steps=self.steps,
            closeup=True,
        )(scene.picture, studio)
        painted.setflags(write=False)
        inside = box_to_bitmap(box, scene.size)
        area = self._found(scene.changed(document, painted), inside, studio)
        taken = inside
        if area is not None and not self.whole:
            taken = grown(area, math.ceil(RIM * min(area.shape))) & inside
        picture = laid(painted, scene.picture, matte(taken, self.feather))
        area = inside if area is None else area
        new = outlined(self.region, area)
        document = uncovered(with_region(document, new), area, new.id)
        return scene.changed(captioned(document, around), picture, selected=(new.id,))

    def _found(
        self, scene: Scene, inside: Bool[np.ndarray, "H W"], studio: Studio
    ) -> Bool[np.ndarray, "H W"] | None:
        """Where it is in its box; None if nothing of that size is."""
        asked = Region(id=self.region.id, phrase=self.region.phrase, box=self.region.box)
        area = sought(asked, scene, studio) & inside
        found = bitmap_to_box(area)
        assert self.region.box is not None, "a newcomer has a box"
        return area if found is not None and box_iou(found, self.region.box) >= FOUND else None
