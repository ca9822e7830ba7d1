"""What SEEM learns in one step: to name and outline everything, to answer what is said or drawn.

Axes: L layers, B pictures, Q queries, M targets, N points, K names, C channels.

The three groups of queries ("v1") are trained in one pass of the decoder: free ones on all that
has a name, those of a text on what it means, those of drawn objects on these. Beside the decoder
two small heads (`seem.train.heads`) ask the mask features themselves; they are thrown away in the
end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seem.attention_groups import Group
from seem.choice import caption_likeness
from seem.decoder import LEVELS, DecoderOutput
from seem.image_memory import ImageMemory
from seem.model import Seem
from seem.prompt import Prompt, TextTokens
from seem.train.batch import Batch, BatchMaker
from seem.train.heads import PointHeads
from seem.train.losses import answer_loss, set_loss, truth_at
from seem.train.names import Names, choose_names, tokens_of
from seem.train.points import draw_points, owners_at, read_at
from seem.train.rounds import begin, go_on, reference_of
from seem.train.sample import save_answers
from seem.vocabulary import Vocabulary

__all__ = ["SeemTask"]

ROUNDS = (0, 0, 1, 1, 2, 4)  # rounds before the one that is learned from, equally often


@dataclass
class SeemTask:
    """Trains a "v1" model.

    Attributes:
        model: With all its parameters, or with some frozen.
        tokenizer: Of its words.
        vocabulary: What the sample grids look for.
        maker: Of batches.
        shown: Held-out pictures, uint8 [H, W, 3], for the sample grids.
        batch: Pictures in a step.
        objects: Drawn objects of a picture, at most.
        points: Points at which masks are compared.
        sizes: From which step on the model sees pictures of which size (pixels of a side): small
            ones first, for speed (Touvron et al., "Fixing the train-test resolution discrepancy",
            arXiv 1906.06423).
        features_first: Steps at the beginning in which the two heads alone are asked: features
            learn to tell things apart before the decoder begins.
    """

    model: Seem
    tokenizer: Callable[..., Any]
    vocabulary: Vocabulary
    maker: BatchMaker
    shown: Sequence[np.ndarray]
    batch: int = 16
    objects: int = 3
    points: int = 512
    sizes: Mapping[int, int] = field(default_factory=lambda: {0: 128})
    features_first: int = 0

    def __post_init__(self) -> None:
        """Add the two heads, the same at every start."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.heads = PointHeads(self.model.config.dim, LEVELS).to(self.device)
        self._whole = nn.ModuleDict({"model": self.model, "heads": self.heads})

    @property
    def device(self) -> torch.device:
        """The model's."""
        return self.model.decoder.query_feat.weight.device

    def trained(self) -> nn.Module:
        """The model and the two heads."""
        return self._whole

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a random batch, and its parts."""
        chance = np.random.default_rng([generator.initial_seed(), 3])
        size = self.sizes[max(start for start in self.sizes if start <= step)]
        batch = self.maker.draw(self.batch, size, chance)
        names = choose_names(batch.pictures, self.maker.scenes.lexicon, chance)
        points = draw_points(batch.ids, self.points, chance)
        owners = owners_at(batch.ids, points).to(self.device)
        memory = self.model.encode_image(batch.pixels.to(self.device))
        features = read_at(memory.mask_features, points.to(self.device))
        vectors = self._texts(names.texts)[1]
        labels = self._labels(batch, names)
        levels = [read_at(level, points.to(self.device)) for level in memory.levels]
        seen = self.heads.loss(features, levels, owners, labels, self._likeness(vectors))
        if step < self.features_first:
            return seen[0], {f"point/{k}": v for k, v in seen[1].items()}
        prompts, drawn = self._ask(memory, batch, size, chance)
        output = self.model.decode(memory, prompts, earlier=True)
        parts = {
            "point": seen,
            "free": self._free_loss(output, features, owners, batch, names, vectors),
            "text": self._text_loss(output, features, owners, batch, prompts, vectors[-1:]),
            "drawn": self._drawn_loss(output, features, owners, drawn),
        }
        numbers = {f"{part}/{k}": v for part, (_, said) in parts.items() for k, v in said.items()}
        return torch.stack([loss for loss, _ in parts.values()]).sum(), numbers

    def sample(self, path: Path) -> None:
        """Held-out pictures, what is found on them freely, and where each thing is clicked."""
        size = max(self.sizes.values())
        save_answers(self.model, self.tokenizer, self.vocabulary, size, self.shown, path)

    def _texts(self, texts: Sequence[str]) -> tuple[list[Tensor], Float[Tensor, "K C"]]:
        """The tokens of each text, and all texts' vectors."""
        ids, mask = tokens_of(self.tokenizer, texts)
        features = self.model.text_encoder(ids.to(self.device), mask.to(self.device))
        tokens = [row[here] for row, here in zip(features.tokens, features.mask, strict=True)]
        return tokens, features.embeddings

    def _likeness(self, vectors: Tensor) -> Callable[[Tensor], Tensor]:
        """Captions [..., C] -> logits of the vectors [K, C], or of each picture's own [B, K, C]."""
        scale = self.model.text_encoder.logit_scale
        return lambda captions: caption_likeness(captions, vectors, scale)

    def _ask(
        self, memory: ImageMemory, batch: Batch, size: int, chance: np.random.Generator
    ) -> tuple[list[Prompt], list[list[int]]]:
        """A prompt for each picture, and the objects that are drawn, those of references last."""
        pictures = batch.pictures
        talks = [begin(picture, size, self.objects, chance) for picture in pictures]
        rounds = int(chance.choice(ROUNDS))
        for _ in range(rounds):
            go_on(self.model, memory, talks)
        tokens, vectors = self._texts([picture.said.text for picture in pictures])
        prompts, drawn = [], []
        for i, (picture, talk) in enumerate(zip(pictures, talks, strict=True)):
            numbers, visual, other = list(talk.numbers), None, min(i ^ 1, len(pictures) - 1)
            found = None if rounds else reference_of(picture, pictures[other], size, chance)
            if found is not None:
                numbers.append(found[0])
                marked = torch.from_numpy(found[1])[None].to(self.device)
                visual = self.model.encode_marks(memory, marked, image=other)
            prompts.append(
                Prompt(
                    spatial=talk.tokens(self.model, memory, i),
                    visual=visual,
                    text=TextTokens(tokens=tokens[i], classes=vectors[i : i + 1]),
                    previous=talk.previous,
                )
            )
            drawn.append(numbers)
        return prompts, drawn

    def _labels(self, batch: Batch, names: Names) -> list[dict[int, int]]:
        """The name of each visible object that has one, for each picture."""
        found = []
        for picture in batch.pictures:
            labels = {number: names.label(picture, number) for number in picture.boxes}
            found.append({n: label for n, label in labels.items() if label is not None})
        return found

    def _free_loss(
        self,
        output: DecoderOutput,
        features: Float[Tensor, "B C N"],
        owners: Int[Tensor, "B N"],
        batch: Batch,
        names: Names,
        vectors: Float[Tensor, "K C"],
    ) -> tuple[Tensor, dict[str, float]]:
        captions, masks = _said(output, Group.OBJECT, features)
        logits = self._likeness(vectors)(captions)
        return set_loss(logits, masks, owners, self._labels(batch, names))

    def _text_loss(
        self,
        output: DecoderOutput,
        features: Float[Tensor, "B C N"],
        owners: Int[Tensor, "B N"],
        batch: Batch,
        prompts: Sequence[Prompt],
        nobody: Float[Tensor, "1 C"],
    ) -> tuple[Tensor, dict[str, float]]:
        captions, masks = _said(output, Group.GROUNDING, features)
        texts = [prompt.text for prompt in prompts]
        pairs = torch.stack([torch.cat([t.classes, nobody]) for t in texts if t is not None])
        logits = self._likeness(pairs)(captions)
        meant = [{n: 0 for n in p.said.means if n in p.boxes} for p in batch.pictures]
        return set_loss(logits, masks, owners, meant)

    def _drawn_loss(
        self,
        output: DecoderOutput,
        features: Float[Tensor, "B C N"],
        owners: Int[Tensor, "B N"],
        drawn: list[list[int]],
    ) -> tuple[Tensor, dict[str, float]]:
        span = output.spans[Group.SPATIAL]
        _, masks = _said(output, Group.SPATIAL, features)
        truth, _ = truth_at(owners, drawn)
        return answer_loss(masks, output.owners[:, span], truth, output.groups[:, span] >= 0)


def _said(
    output: DecoderOutput, group: Group, features: Float[Tensor, "B C N"]
) -> tuple[Float[Tensor, "L B Q C"], Float[Tensor, "L B Q N"]]:
    """Captions, and mask logits at points, of a group of queries after every layer."""
    stages = [stage.at(output.spans[group]) for stage in (*output.earlier, output.predictions)]
    masks = torch.stack([stage.mask_embeddings for stage in stages]) @ features
    return torch.stack([stage.captions for stage in stages]), masks
