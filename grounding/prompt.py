"""GroundedPrompt: the one document that every task reads and returns.

A prompt asks (words, boxes, strokes, questions), a result answers (masks, scores, files, replies),
and both are this document, so that outputs feed inputs. Geometry is normalised xyxy on the
unpadded canvas (see `grounding.region`). `python -m grounding.prompt` prints its JSON Schema.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from grounding.errors import PromptError
from grounding.files import write_files
from grounding.jsonfile import describe, parse_json, read_text
from grounding.message import (
    AudioContent,
    Content,
    ImageContent,
    Message,
    RegionContent,
    TextContent,
)
from grounding.part import Number, Part, Text, Whole
from grounding.region import (
    MAX_SIDE,
    Attribute,
    Keypoint,
    NormalizedBox,
    Point,
    Reference,
    Region,
    RleMask,
    Stroke,
)

__all__ = [
    "SCHEMA",
    "AudioContent",
    "Canvas",
    "Content",
    "GroundedPrompt",
    "ImageContent",
    "Keypoint",
    "Maps",
    "Message",
    "NormalizedBox",
    "Point",
    "Provenance",
    "Reference",
    "Region",
    "RegionContent",
    "Relation",
    "RleMask",
    "Sampling",
    "Segment",
    "Stroke",
    "TextContent",
    "json_schema",
]

SCHEMA = "lavallama/prompt/v1"
SCHEDULE_TOLERANCE = 1e-6  # .7 + .2 + .1 is not 1.0 in floating point

Side = Annotated[Whole, Field(ge=1, le=MAX_SIDE)]
Fraction = Annotated[Number, Field(ge=0, le=1)]


class Canvas(Part):
    """The size of the image that the coordinates refer to, in pixels."""

    width: Side = Field(description="Pixels across.")
    height: Side = Field(description="Pixels down.")

    @property
    def size(self) -> tuple[int, int]:
        """`(width, height)`, as Pillow counts."""
        return self.width, self.height


class Relation(NamedTuple):
    """How two regions stand to each other: `["a1", "left of", "b1"]`."""

    subject: Annotated[Text, Field(description="Id of a region.")]
    predicate: Annotated[Text, Field(description='Such as "left of".', min_length=1)]
    object: Annotated[Text, Field(description="Id of a region.")]


class Maps(Part):
    """Images that guide the whole canvas: path, URL or data URI each."""

    canny: Text | None = Field(default=None, description="Canny edges.")
    depth: Text | None = Field(default=None, description="Depth.")
    hed: Text | None = Field(default=None, description="Soft edges (HED).")
    normal: Text | None = Field(default=None, description="Surface normals.")
    semantic: Text | None = Field(default=None, description="Class indices (ADE20K).")


class Sampling(Part):
    """How an image is drawn. An absent field leaves the choice to the model."""

    seed: Annotated[Whole, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="Seed of the first image's generator; image i uses seed + i."
    )
    steps: Annotated[Whole, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Denoising steps."
    )
    guidance: Annotated[Number, Field(ge=0, le=1000)] | None = Field(
        default=None, description="Classifier-free guidance scale; 1 is none."
    )
    schedule: tuple[Fraction, Fraction, Fraction] | None = Field(
        default=None,
        description="Fractions of the steps with the gates [on, fading linearly, off]; sum 1.",
    )
    scheduler: Literal["plms", "ddim", "dpm++", "unipc", "lcm"] | None = Field(
        default=None, description="Which solver."
    )

    isolate: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, description="Keep regions apart: none sees what lies in another."
    )

    @field_validator("schedule")
    @classmethod
    def _is_whole(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and abs(sum(value) - 1) > SCHEDULE_TOLERANCE:
            raise ValueError(
                f"the fractions on, linear and off must add up to 1, got {sum(value):g}"
            )
        return value

    def filled(self, defaults: "Sampling") -> "Sampling":
        """Return these settings, with those absent taken from `defaults`."""
        return Sampling.model_validate(
            {name: getattr(defaults, name) if value is None else value for name, value in self}
        )


class Segment(Part):
    """What segmentation is asked for."""

    mode: Literal["prompt", "instance", "semantic", "panoptic", "referring"] = Field(
        default="prompt",
        description="prompt: the regions as given; the others: as in the literature.",
    )
    classes: tuple[Text, ...] = Field(
        default=(), description="Open vocabulary; empty: the model's own."
    )


class Provenance(Part):
    """Where a result comes from: with prompt and sampling, all it takes to make it again."""

    software: Text | None = Field(default=None, description='Such as "lavallama 0.1.0".')
    model: Text | None = Field(default=None, description="Name, path or hub id of the base model.")
    adapter: Text | None = Field(default=None, description="Name, path or hub id of the adapter.")
    device: Text | None = Field(default=None, description='Such as "cpu".')
    dtype: Text | None = Field(default=None, description='Such as "float32".')
    attention: Text | None = Field(default=None, description="Attention backend.")
    index: Annotated[Whole, Field(ge=0)] = Field(
        default=0, description="Which image of the request."
    )
    settings: dict[Text, Attribute] = Field(default={}, description="Anything else that mattered.")


class GroundedPrompt(Part):
    """A request, or a result, of any task: words and regions on one canvas."""

    schema_: Literal["lavallama/prompt/v1"] = Field(
        default=SCHEMA, alias="schema", description="Name and version of this format."
    )
    canvas: Canvas | None = Field(
        default=None, description="Size of the image; absent: the model's own."
    )
    prompt: Text = Field(default="", description="What the whole image shows.")
    negative_prompt: Text = Field(default="", description="What it should not show.")
    background: Text = Field(default="", description="What lies behind the regions, if said apart.")
    image: Text | None = Field(
        default=None, description="Path, URL or data URI of the image it is about."
    )
    regions: tuple[Region, ...] = Field(
        default=(), fail_fast=True, description="The things on the canvas."
    )
    relations: tuple[Relation, ...] = Field(
        default=(), description="How regions stand to each other."
    )
    maps: Maps = Field(default=Maps(), description="Images that guide the whole canvas.")
    sampling: Sampling = Field(default=Sampling(), description="How an image is drawn.")
    segment: Segment | None = Field(default=None, description="What segmentation is asked for.")
    messages: tuple[Message, ...] = Field(default=(), description="A conversation about the image.")
    files: dict[Text, Text] = Field(
        default={}, description='What a run wrote: {"image": "llama.png", "overlay": "..."}.'
    )
    provenance: Provenance | None = Field(default=None, description="How a result was made.")

    @field_validator("regions")
    @classmethod
    def _name_regions(cls, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        taken: set[str] = set()
        for index, region in enumerate(regions):
            if region.id and region.id in taken:
                first = next(i for i, other in enumerate(regions) if other.id == region.id)
                raise ValueError(
                    f"regions {first} and {index} share the id {describe(region.id)}; "
                    "ids must differ"
                )
            taken.add(region.id)
        named: list[Region] = []
        for index, region in enumerate(regions):
            number = index + 1
            while not region.id and f"r{number}" in taken:
                number += 1
            new = region.id or f"r{number}"
            taken.add(new)
            named.append(region if region.id else region.model_copy(update={"id": new}))
        return tuple(named)

    @model_validator(mode="after")
    def _ids_exist(self) -> Self:
        ids = {region.id for region in self.regions}
        used = [
            (f"relations[{index}]", name)
            for index, relation in enumerate(self.relations)
            for name in (relation.subject, relation.object)
        ]
        used += [
            (f"messages[{index}].content[{place}]", name)
            for index, message in enumerate(self.messages)
            for place, content in enumerate(message.content)
            if isinstance(content, RegionContent)
            for name in content.ids
        ]
        used += [
            (f"regions[{index}].reference", region.reference.region)
            for index, region in enumerate(self.regions)
            if region.reference and region.reference.image is None and region.reference.region
        ]
        for where, name in used:
            if name not in ids:
                known = ", ".join(sorted(ids)[:8]) or "none"
                raise ValueError(
                    f"{where}: no region has the id {describe(name)}; the ids are: {known}"
                )
        return self

    @classmethod
    def load(cls, path: str | Path) -> "GroundedPrompt":
        """Read a document from a JSON file. Other formats: `grounding.formats.load`.

        Raises:
            PromptError: one line that names the file and the entry.
        """
        try:
            return cls.model_validate(parse_json(read_text(path)))
        except PromptError as error:
            raise PromptError(f"{path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write the document as readable JSON, defaults omitted; whole or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_files({Path(path): text.encode()})

    def to_dict(self) -> dict[str, Any]:
        """Return the document as plain JSON values, fields at their default left out."""
        content = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {"schema": SCHEMA} | _tidy(content)

    def canonical_json(self) -> str:
        """Return the one text that stands for this document, whatever way it was written.

        Keys sorted, no spaces, defaults omitted, whole floats as integers, other floats as their
        shortest round-tripping decimal, UTF-8 unescaped.
        """
        return json.dumps(
            self.to_dict(),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        )

    def digest(self) -> str:
        """Return the SHA-256 of the canonical form, 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def region(self, name: str) -> Region:
        """Return the region of that id.

        Raises:
            PromptError: there is none.
        """
        for region in self.regions:
            if region.id == name:
                return region
        known = ", ".join(region.id for region in self.regions[:8]) or "none"
        raise PromptError(f"no region has the id {describe(name)}; the ids are: {known}")

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the document's JSON Schema, draft 2020-12."""
        return json_schema()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `GroundedPrompt`."""
    schema = GroundedPrompt.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA} | schema


def _tidy(value: Any) -> Any:
    """Write whole floats as integers, so that 1 and 1.0 are the same text."""
    if isinstance(value, dict):
        return {key: _tidy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
