"""Patches spelled out: each by the words for what it shows, in the place of a vision tower's.

The language model of a LLaVA knows how to answer before it sees. One that starts from nothing
learns it here, from scenes whose patches are spelled in its own words; the projector then learns
to say the same of what the tower sees. Axes: B pictures, N patches, D channels of a word.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grounding.llava.train.begin import SHOWN, STRENGTH
from grounding.llava.train.cells import Cells
from grounding.stickers.questions import PLAIN
from grounding.stickers.scene import Scene
from grounding.stickers.world import World

__all__ = ["SpelledPatches"]

WAVES = (1, 2, 4)  # half turns over the canvas, of what is said of a coordinate
PER_SIDE = 1 + 2 * len(WAVES)
PLACED = 4 * PER_SIDE + 2  # the box; whether there is an object, and whether it is its middle


class SpelledPatches(nn.Module):
    """Says what patches show.

    Args:
        embedding: The language model's table of words; it stays the language model's.
        tokenizer: Of the language model, in which each name is one word.
        world: Of the names.
    """

    concepts: Tensor
    materials: Tensor
    backgrounds: Tensor

    def __init__(self, embedding: nn.Embedding, tokenizer: Any, world: World):
        super().__init__()
        self._words: tuple[nn.Embedding] = (embedding,)  # not a part of this module
        self.world = world
        width = embedding.weight.shape[1]
        self.placed = nn.Linear(PLACED, width, bias=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            nn.init.normal_(self.placed.weight, std=0.2 * float(embedding.weight.detach().std()))
        shown = torch.zeros(width)
        shown[SHOWN] = STRENGTH * float(embedding.weight.detach().std())
        self.shown = nn.Parameter(shown)

        def ids(names: tuple[str, ...]) -> Tensor:
            return torch.tensor([tokenizer.convert_tokens_to_ids(f"Ġ{name}") for name in names])

        nobody = (PLAIN,)  # on the background: not read
        self.register_buffer("concepts", ids((*nobody, *world.concepts)), persistent=False)
        self.register_buffer("materials", ids((PLAIN, *world.materials)), persistent=False)
        self.register_buffer("backgrounds", ids(world.backgrounds), persistent=False)

    def briefly(self, scene: Scene) -> Float[Tensor, "n D"]:
        """Return the words of a scene in brief: its background, then each object's middle."""
        device, stickers, world = self.placed.weight.device, scene.stickers, self.world
        boxes = torch.tensor([(0.0, 0.0, 0.0, 0.0), *(s.box for s in stickers)])
        cells = Cells(
            concepts=torch.tensor([0, *(1 + world.concepts.index(s.concept) for s in stickers)]),
            materials=torch.tensor(
                [0, *(1 + world.materials.index(s.material) if s.material else 0 for s in stickers)]
            ),
            backgrounds=torch.full((1 + len(stickers),), world.backgrounds.index(scene.background)),
            boxes=boxes,
            middles=(boxes[:, 2] > 0).float(),
        )
        return self._spell(Cells(**{name: v.to(device) for name, v in vars(cells).items()}))

    def forward(self, cells: Cells) -> Float[Tensor, "B N D"]:
        """Return the words of pictures."""
        return self._spell(cells).flatten(1, 2)

    def _spell(self, cells: Cells) -> Float[Tensor, "*S D"]:
        [words] = self._words
        here = (cells.concepts > 0)[..., None]
        thing = words(self.concepts[cells.concepts])
        thing = thing + words(self.materials[cells.materials.clamp(min=0)])
        behind = words(self.backgrounds[cells.backgrounds.clamp(min=0)])
        flags = torch.stack([here[..., 0].float(), cells.middles], dim=-1)
        placed = torch.cat([_waves(cells.boxes).flatten(-2) * here, flags], dim=-1)
        said = torch.where(here, thing, behind) + self.placed(placed)
        return said + self.shown.to(said)


def _waves(values: Float[Tensor, "*S 4"]) -> Float[Tensor, "*S 4 W"]:
    """Coordinates as themselves and as waves."""
    turns = values[..., None] * torch.tensor(WAVES, device=values.device) * torch.pi
    return torch.cat([2 * values[..., None] - 1, turns.cos(), turns.sin()], dim=-1)
