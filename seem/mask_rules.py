"""What is done with masks beyond the official rules."""

from dataclasses import dataclass

__all__ = ["MaskRules"]


@dataclass(frozen=True, kw_only=True)
class MaskRules:
    """Rules that a predictor adds; with none of them its answers are the model's own.

    Attributes:
        connected: Leave out the parts of a mask on which none of the marks lies (`seem.parts`).
        corrected: Make masks agree with clicks and strokes (`seem.correction`).
        wholes: Of masks of one text, let those inside another give way to it (`seem.wholes`).
    """

    connected: bool = False
    corrected: bool = False
    wholes: bool = False
