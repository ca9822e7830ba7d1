"""Request: one document, understood by a model; and the jobs, one for each picture, it stands for.

Axes: M channels of a map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gligen.isolation import Isolation
from gligen.sampler import SamplerSettings
from grounding.errors import LavallamaError
from grounding.prompt import GroundedPrompt, Sampling
from pipelines.generation.companions.cues import Cues
from pipelines.generation.text import Words
from pipelines.original import Original

__all__ = ["Grounded", "Grounding", "Job", "Request", "Solver", "batches"]

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """What is where, as an adapter reads it, absent things masked out.

    Attributes:
        inputs: what the adapter's tokenizer is called with (`gligen.tokenizers`), of one image.
        maps: [1, M, H, W], if the adapter reads maps.
        isolation: where the regions lie, if they are kept apart; those of `inputs`.
    """

    inputs: tuple[Tensor, ...]
    maps: Tensor | None = None
    isolation: Isolation | None = None

    def to(self, device: torch.device) -> Grounding:
        """The same, on a device."""
        return Grounding(
            inputs=tuple(one.to(device) for one in self.inputs),
            maps=None if self.maps is None else self.maps.to(device),
            isolation=None if self.isolation is None else self.isolation.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class Grounded:
    """What is grounded in a batch (`gligen.sampler.Condition`).

    Attributes:
        tokens: [B, N, D]; None: no region.
        isolation: where the regions lie, if they are kept apart.
    """

    tokens: Tensor | None = None
    isolation: Isolation | None = None


@dataclass(frozen=True, kw_only=True)
class Solver:
    """A scheduler by name, and how it is run."""

    scheduler: str
    settings: SamplerSettings

    @classmethod
    def of(cls, sampling: Sampling, strength: float | None = None) -> Solver:
        """Take it from sampling settings without gaps; of image-to-image also the strength."""
        given = (sampling.scheduler, sampling.steps, sampling.guidance, sampling.schedule)
        scheduler, steps, guidance, schedule = given
        assert scheduler is not None
        assert steps is not None
        assert guidance is not None
        assert schedule is not None
        settings = SamplerSettings(
            steps=steps,
            guidance=guidance,
            schedule=schedule,
            strength=1.0 if strength is None else strength,
        )
        return cls(scheduler=scheduler, settings=settings)


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that the pictures of one document have in common.

    Attributes:
        document: its sampling without gaps, its canvas the result's size.
        size: (width, height) in pixels that is drawn; an original scales it to the result's.
        solver: how to denoise.
        positive: the prompt.
        negative: the negative prompt.
        grounding: None for a plain picture.
        original: what is inpainted; None: nothing.
        beginning: [1, C, h, w] latents that image-to-image begins from; None: from noise.
        cues: what the companions of the model are given.
        notes: for the provenance: what else the picture was made from.
    """

    document: GroundedPrompt
    size: tuple[int, int]
    solver: Solver
    positive: Words
    negative: Words
    grounding: Grounding | None
    original: Original | None = None
    beginning: Tensor | None = None
    cues: Cues = Cues()
    notes: Mapping[str, str | int | float] = field(default_factory=dict)

    def is_like(self, other: Request) -> bool:
        """Whether pictures of both can be drawn in one batch."""
        return (
            self.size == other.size
            and self.solver == other.solver
            and (self.grounding is None) == (other.grounding is None)
            and self.is_isolated == other.is_isolated
            and (self.original is None) == (other.original is None)
            and (self.beginning is None) == (other.beginning is None)
            and self.cues.is_like(other.cues)
        )

    @property
    def is_isolated(self) -> bool:
        """Whether regions are kept apart."""
        return self.grounding is not None and self.grounding.isolation is not None

    def jobs(self, images: int) -> list[Job]:
        """One job for each picture; picture i has the document's seed + i.

        Raises:
            LavallamaError: the last seed would not be one.
        """
        first = self.document.sampling.seed or 0
        if first + images - 1 > MAX_SEED:
            raise LavallamaError(
                f"the last of {images} pictures would have a seed of 2**63 or more; "
                f"got seed {first}: take a smaller one"
            )
        return [Job(request=self, index=index, seed=first + index) for index in range(images)]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One picture to draw."""

    request: Request
    index: int
    seed: int


def batches(jobs: Sequence[Job], most: int) -> Iterator[list[Job]]:
    """Neighbours that are alike, at most `most` together, in order."""
    group: list[Job] = []
    for job in jobs:
        if group and (len(group) == most or not job.request.is_like(group[0].request)):
            yield group
            group = []
        group.append(job)
    if group:
        yield group
