"""Wishes: what a call asks for beside the documents; it wins over what they say themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grounding.errors import LavallamaError
from grounding.prompt import GroundedPrompt, Sampling
from pipelines.generation.companions.notes import CONTROL, IP_IMAGE, STRENGTH, listed
from pipelines.generation.source_picture import blend_of

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    class Overrides(TypedDict, total=False):
        """Keyword arguments of a call that win over a document's own settings."""

        image: str | None
        blend: int | None
        strength: float | None
        controls: Sequence[str] | None
        ip_image: str | None
        seed: int | None
        steps: int | None
        guidance: float | None
        schedule: tuple[float, float, float] | None
        scheduler: str | None
        isolate: bool | None


__all__ = ["Wishes"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Settings of a call; None: what the document says.

    Attributes:
        sampling: seed, steps, guidance, schedule, scheduler, isolate.
        image: path or data URI of a picture to start from.
        blend: pixels over which an inpainted picture fades from old to new.
        strength: in (0, 1]: how much of the picture is drawn anew, all over.
        controls: maps, one for each ControlNet: PICTURE or PICTURE=WEIGHT, "canny:PICTURE" for the
            edges of one.
        ip_image: the picture for the IP-Adapter: PICTURE or PICTURE=WEIGHT.
    """

    sampling: Sampling = Sampling()
    image: str | None = None
    blend: int | None = None
    strength: float | None = None
    controls: tuple[str, ...] | None = None
    ip_image: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Wishes:
        """Check the keyword arguments of a call.

        Raises:
            LavallamaError: one of them cannot be.
        """
        values = dict(given)
        names = ("image", "blend", "strength", "controls", "ip_image")
        own = {name: values.pop(name, None) for name in names}
        if own["blend"] is not None and own["blend"] < 0:
            raise LavallamaError(f"blend is a number of pixels, 0 or more; got {own['blend']}")
        _check_strength(own["strength"])
        if own["controls"] is not None:
            own["controls"] = tuple(str(one) for one in own["controls"])
        return cls(sampling=Sampling.model_validate(values), **own)

    def filled(self, document: GroundedPrompt) -> Wishes:
        """These wishes, with what is absent taken from a document that is drawn again.

        Raises:
            LavallamaError: the document's own settings cannot be.
        """
        made = {} if document.provenance is None else document.provenance.settings
        strength = made.get(STRENGTH) if self.strength is None else self.strength
        _check_strength(strength)
        ip_image = made.get(IP_IMAGE) if self.ip_image is None else self.ip_image
        return Wishes(
            sampling=self.sampling.filled(document.sampling),
            image=self.image,
            blend=blend_of(document) if self.blend is None else self.blend,
            strength=None if strength is None else float(strength),
            controls=listed(CONTROL, made) if self.controls is None else self.controls,
            ip_image=None if ip_image is None else str(ip_image),
        )


def _check_strength(strength: Any) -> None:
    if strength is None:
        return
    sound = isinstance(strength, (int, float)) and math.isfinite(strength) and 0 < strength <= 1
    if not sound:
        raise LavallamaError(
            f"strength is the share of a picture that is drawn anew, above 0 and at most 1; got "
            f"{strength}"
        )
