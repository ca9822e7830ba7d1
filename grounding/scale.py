"""Sizes of what is drawn over a picture, in pixels of the layer that it is drawn on."""

from dataclasses import dataclass

from grounding.geometry import Box

__all__ = ["Scale"]


@dataclass(frozen=True)
class Scale:
    """What suits a picture, in pixels of its layer.

    Attributes:
        width: Of the layer.
        height: Of the layer.
        line: Of frames.
        rim: Dark, around lines.
        font: Of labels.
    """

    width: int
    height: int
    line: int
    rim: int
    font: int

    @classmethod
    def of(cls, size: tuple[int, int], over: int) -> "Scale":
        """Choose sizes for a picture of (width, height); its layer is `over` times as large."""
        side = min(size)
        line = max(2, round(side / 190))
        return cls(
            width=size[0] * over,
            height=size[1] * over,
            line=line * over,
            rim=max(1, line // 2) * over,
            font=max(13, round(side / 32)) * over,
        )

    def xy(self, point: tuple[float, float]) -> tuple[float, float]:
        """Place a normalised point."""
        return point[0] * self.width, point[1] * self.height

    def box(self, box: Box) -> tuple[int, int, int, int]:
        """Place a box so that its whole frame lies on the canvas."""
        x0, y0, x1, y1 = (
            round(value * side)
            for value, side in zip(box, (self.width, self.height) * 2, strict=True)
        )
        return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)
