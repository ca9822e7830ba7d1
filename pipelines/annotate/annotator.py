"""Annotator: a picture's captions, phrases, boxes and masks, as a prompt document."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from grounding.drops import Dropped
from grounding.errors import PromptError
from grounding.llava.conversation import Conversation
from grounding.llava.records import MARK
from grounding.masks import bitmap_to_box, bitmap_to_rle
from grounding.planning.scene_graph import Thing
from grounding.prompt import Canvas, GroundedPrompt, Provenance
from grounding.region import Region
from pipelines.annotate.filters import Kept, sift
from pipelines.annotate.finder import Candidate, by_name, by_phrase, stuff_of, things_of
from pipelines.annotate.raw import LONGEST_CAPTION, Raw
from pipelines.annotate.settings import Names, Settings, behind
from pipelines.annotate.wording import caption_of

if TYPE_CHECKING:
    from grounding.llava.chat import Speaker
    from pipelines.annotate.recogniser import Recogniser
    from seem.predictor import Predictor

__all__ = ["CAPTION_KEY", "NAME_KEY", "THING_KEY", "Annotator", "Eyes", "open_annotator"]

# In a document's provenance: who wrote the caption; in a region's attributes: its name without
# attributes, whether it can be counted, how well its box agrees, whether a caption speaks of it.
CAPTION_KEY, NAME_KEY, THING_KEY = "caption", "name", "thing"
GIVEN, BY_RULE = "given", "made by rule"
QUESTION = "Describe the picture in one sentence. Name every object, and where it is."


@dataclass(frozen=True, kw_only=True, eq=False)
class Eyes:
    """What looks at a picture.

    Attributes:
        predictor: Finds regions.
        names: What is looked for.
        recogniser: Says what regions are; None: the predictor does.
    """

    predictor: Predictor
    names: Names
    recogniser: Recogniser | None = None


class Annotator:
    """Annotates one picture after the other; none knows of another.

    Args:
        eyes_for: Gives what looks at a picture.
        settings: How.
        speaker: Writes captions, where none are given; None: they are made by rule.
    """

    def __init__(
        self,
        eyes_for: Callable[[Image.Image], Eyes],
        settings: Settings,
        *,
        speaker: Speaker | None = None,
    ) -> None:
        self.eyes_for, self.settings, self.speaker = eyes_for, settings, speaker

    def __call__(self, raw: Raw) -> dict[str, Any]:
        """Annotate a picture.

        Returns:
            As JSON has it: "picture", the SHA-256 of the file; "document", and "lost", a reason and
            a detail for each region that was left out; or "dropped", the same of the picture.

        Raises:
            LavallamaError: the chat model cannot be asked.
        """
        try:
            data, picture = raw.open()
            document, lost = self._annotate(picture, raw.captions)
        except Dropped as dropped:
            return {"dropped": [dropped.reason, dropped.detail]}
        return {
            "picture": hashlib.sha256(data).hexdigest(),
            "document": document.to_dict(),
            "lost": [list(one) for one in lost],
        }

    def _annotate(
        self, picture: Image.Image, given: Sequence[str]
    ) -> tuple[GroundedPrompt, list[tuple[str, str]]]:
        captions = tuple(given) or self._asked(picture)
        eyes = self.eyes_for(picture)
        eyes.predictor.set_image(picture)
        things = things_of(captions, eyes.names)
        candidates, unseen = self._found(eyes, picture, things)
        kept, lost = sift(candidates, eyes.predictor, self.settings, eyes.names, things)
        lost = [*unseen, *lost]
        behind_all = stuff_of(eyes.predictor, eyes.names)
        if not kept:
            raise Dropped(
                "nothing was found", "; ".join(f"{why}: {what}" for why, what in lost[:3])
            )
        regions = [_region(one) for one in kept]
        background = _background(behind_all, eyes.names)
        settings: dict[str, Any] = {
            CAPTION_KEY: GIVEN if given else self.settings.model if captions else BY_RULE,
            **{f"caption {n}": text for n, text in enumerate(captions[1:], 2)},
        }
        document = GroundedPrompt(
            canvas=Canvas(width=picture.width, height=picture.height),
            prompt=captions[0] if captions else caption_of(regions, background),
            background=background,
            regions=(*regions, *map(_stuff_region, behind_all)),
            provenance=Provenance(model=self.settings.segmenter, settings=settings),
        )
        return document, lost

    def _found(
        self, eyes: Eyes, picture: Image.Image, things: Sequence[Thing]
    ) -> tuple[list[Candidate], list[tuple[str, str]]]:
        """Everything that may be there; and what captions speak of that is not."""
        least = self.settings.min_score
        said, unseen = by_phrase(eyes.predictor, things, least)
        if eyes.recogniser is None:
            return [*said, *by_name(eyes.predictor, eyes.names, least)], unseen
        plain = replace(eyes.names, attributes=())  # the recogniser tells attributes
        found = [*said, *by_name(eyes.predictor, plain, least)]
        return eyes.recogniser(picture, found, things), unseen

    def _asked(self, picture: Image.Image) -> tuple[str, ...]:
        """The chat model's caption; none without one, or if it says nothing."""
        if self.speaker is None:
            return ()
        answer = self.speaker.answer(Conversation.of(QUESTION, [picture])).replace(MARK, " ")
        said = " ".join(answer.encode("utf-8", "replace").decode().split())
        return (said[:LONGEST_CAPTION],) if said else ()


def open_annotator(settings: Settings) -> Annotator:
    """Load the models that settings name.

    Raises:
        LavallamaError: one cannot be had, or nothing says what is looked for.
    """
    from pipelines.conversation.speaker import open_speaker
    from pipelines.segmentation.bundled import kind_of
    from weights.registry import EMBEDDED

    speaker = None
    if settings.model is not None:
        speaker = open_speaker(
            settings.model,
            served_model=settings.served_model,
            key_variable=settings.key_variable,
            device=settings.device,
            offline=settings.offline,
        )
    if settings.segmenter != EMBEDDED:
        eyes = _open_eyes(settings)
        return Annotator(lambda picture: eyes, settings, speaker=speaker)

    @functools.cache
    def opened(name: str) -> Eyes:
        return _open_eyes(replace(settings, segmenter=name))

    return Annotator(lambda picture: opened(kind_of(picture)), settings, speaker=speaker)


def _open_eyes(settings: Settings) -> Eyes:
    """Load what looks at pictures.

    Raises:
        LavallamaError: it cannot be had, or nothing says what is looked for.
    """
    from pipelines.annotate.recogniser import open_recogniser
    from pipelines.segmentation.segmenter import open_predictor

    predictor = open_predictor(settings.segmenter, device=settings.device, offline=settings.offline)
    names = settings.names or _own_names(predictor, settings.segmenter)
    return Eyes(predictor=predictor, names=names, recogniser=open_recogniser(settings, names))


def _own_names(predictor: Predictor, segmenter: str) -> Names:
    """The segmenter's vocabulary; that of stickers also knows materials."""
    from grounding.stickers.vocabulary import BACKGROUNDS
    from grounding.stickers.world import PRESETS
    from weights.registry import STICKERS

    own = predictor.vocabulary
    if own is None:
        raise PromptError(f"{segmenter}: brings no vocabulary; name one (--vocabulary)")
    said = BACKGROUNDS if segmenter == STICKERS else {}
    return Names(
        things=own.things,
        stuff=tuple((name, said.get(name) or behind(name)) for name in own.stuff),
        attributes=PRESETS["crowd"].materials if segmenter == STICKERS else (),
    )


def _background(stuff: Sequence[Candidate], names: Names) -> str:
    """The largest stuff, as a caption says it."""
    if not stuff:
        return ""
    largest = max(stuff, key=lambda one: int(np.count_nonzero(one.mask)))
    return dict(names.stuff).get(largest.name) or behind(largest.name)


def _region(kept: Kept) -> Region:
    found = kept.found
    return Region(
        phrase=found.phrase,
        box=kept.box,
        mask=bitmap_to_rle(found.mask),
        score=found.score,
        attributes={
            NAME_KEY: found.name,
            THING_KEY: True,
            "said": found.said,
            "agreement": kept.agreement,
        },
    )


def _stuff_region(found: Candidate) -> Region:
    return Region(
        phrase=found.phrase,
        box=bitmap_to_box(found.mask),
        mask=bitmap_to_rle(found.mask),
        score=found.score,
        attributes={NAME_KEY: found.name, THING_KEY: False},
        z=-1,
    )
