"""Company: all that runs beside the gates of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gligen.sampler import Companion
from grounding.errors import PromptError
from pipelines.generation.companions.controlnet import ControlNet, load_control, read_control
from pipelines.generation.companions.cues import Cues
from pipelines.generation.companions.embedding import Embedding
from pipelines.generation.companions.ip_adapter import IpAdapter, Likeness
from pipelines.generation.companions.lora import Lora, attach_loras
from pipelines.generation.companions.notes import KINDS, listed, numbered
from pipelines.generation.companions.t2i_adapter import T2iAdapter
from pipelines.generation.companions.weighted import Weighted
from pipelines.generation.layout import Notice
from pipelines.generation.source_picture import read_picture
from weights.base import BaseModel

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    class CompanionNames(TypedDict, total=False):
        """What to load beside a model; paths or hub ids, a weight or word after an "="."""

        loras: Sequence[str]
        embeddings: Sequence[str]
        controlnets: Sequence[str]
        ip_adapter: str | None


__all__ = ["Company"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Company:
    """Companions of one base model.

    Attributes:
        loras: their effects add up.
        embeddings: words of one's own.
        controlnets: and T2I-Adapters: each follows a map; their effects add up.
        ip_adapter: takes a picture as a second prompt.
    """

    loras: tuple[Lora, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    controlnets: tuple[ControlNet | T2iAdapter, ...] = ()
    ip_adapter: IpAdapter | None = None

    @classmethod
    def load(
        cls,
        names: CompanionNames,
        base: BaseModel,
        *,
        image_encoder: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        offline: bool = False,
    ) -> Company:
        """Load companions for a base model; nothing is put into it yet.

        Args:
            names: what to load.
            base: what they must fit.
            image_encoder: of the IP-Adapter; by default the one beside it.
            device: where their own models are to be.
            dtype: of these models' parameters.
            offline: never use the network.

        Raises:
            LavallamaError: anything of this that cannot be had, in one line.
        """
        place = {"device": device, "dtype": dtype, "offline": offline}
        picture = names.get("ip_adapter")
        with _own_chance():
            return cls(
                loras=tuple(
                    Lora.load(Weighted.parse(one), base, offline=offline)
                    for one in names.get("loras", ())
                ),
                embeddings=tuple(
                    Embedding.load(str(one), base, offline=offline)
                    for one in names.get("embeddings", ())
                ),
                controlnets=tuple(
                    load_control(str(one), base, **place) for one in names.get("controlnets", ())
                ),
                ip_adapter=None
                if picture is None
                else IpAdapter.load(str(picture), base, encoder=image_encoder, **place),
            )

    def attach(self, base: BaseModel) -> None:
        """Put into a base model what changes it; before the gates are injected."""
        with _own_chance():
            attach_loras(self.loras, base)
            for embedding in self.words:
                embedding.attach(base)
            if self.ip_adapter is not None:
                self.ip_adapter.attach()

    def spelled(self, text: str) -> str:
        """A text as the tokenizers are to read it, words of one's own spelled out."""
        for embedding in self.words:
            text = embedding.spelled(text)
        return text

    def cues(
        self,
        controls: Sequence[str],
        ip_image: str | None,
        grid: tuple[int, int],
        say: Notice,
    ) -> Cues:
        """Read what one picture gives the companions.

        Args:
            controls: PICTURE or PICTURE=WEIGHT, one for each ControlNet, or none at all.
            ip_image: the same for the IP-Adapter.
            grid: (height, width) of the latents, in cells.
            say: told of companions that are given nothing.

        Raises:
            PromptError: there is nothing to read a picture, or it cannot be read.
        """
        nets = self.controlnets
        if nets and not controls:
            say(f"the ControlNet {nets[0].name} is given no map, so it has no effect")
        elif len(controls) != len(nets):
            raise PromptError(
                f"each ControlNet follows one map: {len(nets)} are loaded, and {len(controls)} "
                "maps given"
            )
        maps = [Weighted.parse(one) for one in controls]
        if self.ip_adapter is None and ip_image is not None:
            raise PromptError(f"{ip_image}: only an IP-Adapter reads it, and none is loaded")
        if self.ip_adapter is not None and ip_image is None:
            say(f"the IP-Adapter {self.ip_adapter.name} is given no picture, so it has no effect")
        picture = Weighted("", 0.0) if ip_image is None else Weighted.parse(ip_image)
        shown = None
        if self.ip_adapter is not None:
            shown = self.ip_adapter.shown(read_picture(picture.name) if picture.name else None)
        return Cues(
            maps=tuple(read_control(m.name, n, grid) for m, n in zip(maps, nets, strict=False)),
            weights=tuple(one.weight for one in maps),
            shown=shown,
            likeness=picture.weight,
        )

    def at_work(self, cues: Sequence[Cues]) -> tuple[Companion, ...]:
        """What adds to the UNet's inputs for a batch of pictures whose cues are alike."""
        first, found = cues[0], []
        if self.ip_adapter is not None:
            shown = [one.shown for one in cues if one.shown is not None]
            found.append(
                Likeness(
                    adapter=self.ip_adapter,
                    pictures=torch.cat([one.picture for one in shown]),
                    nothing=torch.cat([one.nothing for one in shown]),
                    weight=first.likeness,
                )
            )
        for place, weight in enumerate(first.weights):
            if weight:
                maps = torch.cat([one.maps[place] for one in cues])
                found.append(self.controlnets[place].at_work(maps, weight))
        return tuple(found)

    @property
    def words(self) -> tuple[Embedding, ...]:
        """Words of one's own, those that came with LoRAs too."""
        return (*self.embeddings, *(word for lora in self.loras for word in lora.embeddings))

    @property
    def models(self) -> tuple[torch.nn.Module, ...]:
        """Models that run with the UNet, at every step."""
        return tuple(net.model for net in self.controlnets)

    def notes(self) -> dict[str, str]:
        """For the provenance: what is loaded."""
        picture = () if self.ip_adapter is None else (self.ip_adapter.name,)
        names = (
            [str(one.asked) for one in self.loras],
            [one.asked for one in self.embeddings],
            [one.name for one in self.controlnets],
            picture,
        )
        notes: dict[str, str] = {}
        for kind, found in zip(KINDS, names, strict=True):
            notes |= numbered(kind, found)
        return notes

    def missing(self, settings: Mapping[str, object]) -> list[str]:
        """What a picture was drawn with, by its provenance, and is not loaded here."""
        own = self.notes()
        return [
            f"{kind} {name}"
            for kind in KINDS
            for name in listed(kind, settings)
            if name not in listed(kind, own)
        ]


def _own_chance() -> AbstractContextManager[None]:
    """Leave the caller's random state alone: layers get some values before those of their files."""
    return torch.random.fork_rng(devices=[])
