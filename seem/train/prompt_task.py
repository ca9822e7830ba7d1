"""What SEEM and its mask refiner learn in one step: to find what is drawn, or shown elsewhere.

Axes: B pictures, K prompts of a picture, P = B x K prompts, M masks of a prompt, S S the pictures,
h w the mask map (stride 4).

Each picture is asked about a few segments. Some prompts go through rounds of corrections without
gradients, as in SEEM (arXiv 2304.06718, section 4.1). The queries' masks, after every layer, and
the refiner's learn from the same segments: the first mask of a prompt from all, of the others the
one that fits best (SAM, arXiv 2304.02643, appendix A).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from grounding.errors import PromptError
from seem.attention_groups import Group
from seem.decoder import DecoderOutput, mask_logits
from seem.image_memory import ImageMemory
from seem.mark_planes import MarkPlanes, mark_planes
from seem.marks import Marks, draw
from seem.model import Seem
from seem.preprocess import PIXEL_MEAN, PIXEL_STD, ImageSize
from seem.prompt import Prompt
from seem.prompt_encoder import SpatialTokens
from seem.refiner import Prototypes, RefinedMasks
from seem.train.segment_scenes import Segment, SegmentScenes, View, take_view
from seem.train.simulated_marks import SimulatedPrompt, correct, draw_prompt

__all__ = ["PromptTask"]

ROUNDS = (0, 0, 0, 0, 0, 1, 1, 1, 2, 2)  # corrections before the answer that is learned from
REFERENCES = 0.35  # share of the steps in which one picture is asked by another view of itself
ENTROPY = 2.0  # cross-entropy's weight beside dice's
COARSE, QUERIES, EARLIER, OTHERS, QUALITY = 0.4, 0.3, 0.1, 0.05, 0.1
TRIES = 20  # pictures that hold nothing to ask about, one after the other
SHOWN, SHOWN_SEED = 6, 1_000_003


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """A batch: pictures, what is asked about each, and where it is shown on another view."""

    pixels: Float[Tensor, "B 3 S S"]
    prompts: list[list[SimulatedPrompt]]
    reference: "_Reference | None" = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reference:
    """Another view of one picture, on which the same segments are marked."""

    number: int
    pixels: Float[Tensor, "1 3 S S"]
    prompts: list[SimulatedPrompt]


@dataclass
class PromptTask:
    """Trains a "v1" model with a refiner.

    Attributes:
        model: With all its parameters, or with some frozen.
        scenes: What it learns from.
        held_out: What the sample sheets show, and are measured on.
        size: Pixels of a view's side, S; a multiple of 32.
        batch: Views in a step, B.
        prompts: Prompts of a view, K.
        bfloat16: Whether the networks compute in bfloat16.
    """

    model: Seem
    scenes: SegmentScenes
    held_out: SegmentScenes
    size: int = 192
    batch: int = 5
    prompts: int = 3
    bfloat16: bool = True

    @property
    def device(self) -> torch.device:
        """The model's."""
        return self.model.decoder.query_feat.weight.device

    def trained(self) -> nn.Module:
        """The model."""
        return self.model

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a random batch, and its parts."""
        chance = np.random.default_rng([generator.initial_seed(), 5])
        asked = self._draw(self.scenes, chance)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            memory = self.model.encode_image(asked.pixels)
            rounds = 0 if asked.reference is not None else int(chance.choice(ROUNDS))
            previous = None
            for _ in range(rounds):
                asked, previous = self._go_on(memory, asked, previous)
            output, queries, refined = self._answer(memory, asked, previous, earlier=True)
        truth = self._truth(asked)
        return self._judge(memory, output, queries, refined, truth)

    def sample(self, path: Path) -> dict[str, float]:
        """Held-out views with their prompts and answers; the mean IoU of first answers."""
        chance = np.random.default_rng(SHOWN_SEED)
        was_training = self.model.training
        self.model.eval()
        rows, reached = [], []
        with torch.no_grad():
            for _ in range(SHOWN):
                asked = replace(self._draw(self.held_out, chance), reference=None)
                memory = self.model.encode_image(asked.pixels)
                _, _, refined = self._answer(memory, asked, None)
                found = _upscaled(refined.logits[:, :1], self.size)[:, 0] > 0
                truth = self._truth(asked)[:, 0] > 0.5
                both, either = (found & truth).flatten(1).sum(1), (found | truth).flatten(1).sum(1)
                reached.append((both / either.clamp(min=1)).mean().item())
                rows.append(_sheet_row(asked, found.cpu().numpy()))
        self.model.train(was_training)
        sheet = np.concatenate(rows)
        cv2.imwrite(str(path), sheet[..., ::-1])
        return {"iou": float(np.mean(reached))}

    def _draw(self, scenes: SegmentScenes, chance: np.random.Generator) -> _Asked:
        views: list[View] = []
        prompts: list[list[SimulatedPrompt]] = []
        reference = None
        referred = chance.random() < REFERENCES
        for place in range(self.batch):
            image, pieces, segments, view = self._look(scenes, chance)
            count = len(view.numbers)
            chosen = chance.choice(
                count, self.prompts, replace=count < self.prompts, p=view.weights
            )
            views.append(view)
            prompts.append([draw_prompt(view.masks[i], chance) for i in chosen])
            if referred and place == 0:
                other = take_view(image, pieces, segments, self.size, chance)
                reference = self._refer(view, other, chosen, chance)
        return _Asked(
            pixels=self._pixels([view.image for view in views]),
            prompts=prompts,
            reference=reference,
        )

    def _look(
        self, scenes: SegmentScenes, chance: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, Sequence[Segment], View]:
        for _ in range(TRIES):
            image, pieces, segments = scenes.read(int(chance.integers(len(scenes))))
            view = take_view(image, pieces, segments, self.size, chance)
            if view is not None:
                return image, pieces, segments, view
        raise PromptError(
            f"{TRIES} pictures, one after the other, hold nothing to ask about: outline more"
        )

    def _refer(
        self, view: View, other: View | None, chosen: np.ndarray, chance: np.random.Generator
    ) -> _Reference | None:
        """Marks on another view for all that is asked about, if it shows all of that."""
        wanted = [view.numbers[i] for i in chosen]
        if other is None or not set(wanted) <= set(other.numbers):
            return None
        masks = [other.masks[other.numbers.index(number)] for number in wanted]
        return _Reference(
            number=0,
            pixels=self._pixels([other.image]),
            prompts=[draw_prompt(mask, chance) for mask in masks],
        )

    def _pixels(self, images: Sequence[np.ndarray]) -> Float[Tensor, "B 3 S S"]:
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (PIXEL_MEAN, PIXEL_STD))
        pixels = (stacked - mean) / deviation
        return pixels.to(self.device).contiguous(memory_format=torch.channels_last)

    @property
    def _sizes(self) -> ImageSize:
        side = (self.size, self.size)
        return ImageSize(original=side, image=side, padded=side)

    def _planes(
        self, prompts: Sequence[SimulatedPrompt], previous: Tensor | None = None
    ) -> MarkPlanes:
        marks = [each.marks for each in prompts]
        return mark_planes(marks, self._sizes, previous).to(self.device)

    def _tokens(
        self, memory: ImageMemory, prompts: Sequence[SimulatedPrompt], image: int
    ) -> SpatialTokens:
        drawn = [draw(each.marks, self._sizes, box_mode="outline") for each in prompts]
        positive, negative = (
            torch.stack([getattr(each, sign) for each in drawn]).to(self.device)
            for sign in ("positive", "negative")
        )
        return self.model.encode_marks(memory, positive, negative, image=image)

    def _answer(
        self,
        memory: ImageMemory,
        asked: _Asked,
        previous: Float[Tensor, "P h w"] | None,
        *,
        earlier: bool = False,
    ) -> tuple[DecoderOutput, Float[Tensor, "P M h w"], RefinedMasks]:
        refiner = self.model.refiner
        assert refiner is not None, "a model with a refiner"
        assert memory.refiner is not None
        reference = asked.reference
        shown = None if reference is None else self.model.encode_image(reference.pixels)
        questions, planes = [], []
        for image, prompts in enumerate(asked.prompts):
            if reference is not None and shown is not None and image == reference.number:
                questions.append(Prompt(visual=self._tokens(shown, reference.prompts, 0)))
                planes.append(self._planes([replace(each, marks=Marks()) for each in prompts]))
                continue
            first = image * self.prompts
            before = None if previous is None else previous[first : first + self.prompts]
            questions.append(Prompt(spatial=self._tokens(memory, prompts, image)))
            planes.append(self._planes(prompts, before))
        output = self.model.decode(memory, questions, objects=False, earlier=earlier)
        queries = self._masks(output.predictions.mask_embeddings, output, memory)
        marks = MarkPlanes(
            planes=torch.cat([each.planes for each in planes]),
            positive=torch.cat([each.positive for each in planes]),
            negative=torch.cat([each.negative for each in planes]),
        )
        owners = torch.arange(len(asked.prompts)).repeat_interleave(self.prompts)
        many = memory.refiner.select(owners.to(self.device))
        looks = refiner.read_looks(many, marks)
        if reference is not None and shown is not None:
            looks = self._looks_elsewhere(looks, shown, reference)
        return output, queries, refiner(many, marks, queries, looks)

    def _looks_elsewhere(
        self, looks: Prototypes, shown: ImageMemory, reference: _Reference
    ) -> Prototypes:
        """Prototypes of a batch with those of the referred picture read from the reference."""
        assert self.model.refiner is not None
        assert shown.refiner is not None
        index = torch.zeros(self.prompts, dtype=torch.long, device=self.device)
        marks = self._planes(reference.prompts)
        theirs = self.model.refiner.read_looks(shown.refiner.select(index), marks)
        first = reference.number * self.prompts
        return tuple(
            torch.cat([ours[:first], other, ours[first + self.prompts :]])
            for ours, other in zip(looks, theirs, strict=True)
        )

    def _masks(
        self, embeddings: Tensor, output: DecoderOutput, memory: ImageMemory
    ) -> Float[Tensor, "P M h w"]:
        span = output.spans[Group.SPATIAL]
        logits = mask_logits(embeddings[:, span], memory)
        return logits.unflatten(1, (self.prompts, -1)).flatten(0, 1)

    @torch.no_grad()
    def _go_on(
        self, memory: ImageMemory, asked: _Asked, previous: Tensor | None
    ) -> tuple[_Asked, Float[Tensor, "P h w"]]:
        """One round: answer, and click on each answer's largest mistake."""
        _, _, refined = self._answer(memory, asked, previous)
        logits = refined.logits[:, :1].float()
        found = (_upscaled(logits, self.size)[:, 0] > 0).cpu().numpy()
        flat = [prompt for prompts in asked.prompts for prompt in prompts]
        said = [correct(prompt, answer) for prompt, answer in zip(flat, found, strict=True)]
        prompts = [said[i : i + self.prompts] for i in range(0, len(said), self.prompts)]
        return replace(asked, prompts=prompts), F.avg_pool2d(logits.sigmoid(), 2)[:, 0]

    def _truth(self, asked: _Asked) -> Float[Tensor, "P 1 S S"]:
        masks = [prompt.truth for prompts in asked.prompts for prompt in prompts]
        return torch.from_numpy(np.stack(masks)).float()[:, None].to(self.device)

    def _judge(
        self,
        memory: ImageMemory,
        output: DecoderOutput,
        queries: Tensor,
        refined: RefinedMasks,
        truth: Float[Tensor, "P 1 S S"],
    ) -> tuple[Tensor, dict[str, float]]:
        half, quarter = F.avg_pool2d(truth, 2), F.avg_pool2d(truth, 4)
        fine, coarse = _doubt(refined.logits, half), _doubt(refined.coarse, quarter)
        each = fine + COARSE * coarse + QUERIES * _doubt(queries, quarter)
        best = each[:, 1:].detach().argmin(1, keepdim=True) + 1
        others = OTHERS * each[:, 1:].mean()
        masks = each[:, 0].mean() + each.gather(1, best).mean() + others
        before = [
            _doubt(self._masks(stage.mask_embeddings, output, memory), quarter)
            for stage in output.earlier
        ]
        layers = torch.stack([x[:, 0].mean() + x.gather(1, best).mean() for x in before]).sum()
        with torch.no_grad():
            inside, target = refined.logits > 0, half > 0.5
            both = (inside & target).flatten(2).sum(2)
            ious = both / (inside | target).flatten(2).sum(2).clamp(min=1)
        quality = F.binary_cross_entropy_with_logits(refined.quality.float(), ious)
        numbers = {
            "iou": ious[:, 0].mean().item(),
            "best": ious.max(1).values.mean().item(),
            "mask": masks.item(),
            "layers": layers.item(),
            "quality": quality.item(),
        }
        return masks + EARLIER * layers + QUALITY * quality, numbers


def _doubt(
    logits: Float[Tensor, "P M h w"], truth: Float[Tensor, "P 1 h w"]
) -> Float[Tensor, "P M"]:
    """Dice and cross-entropy of each mask."""
    logits = logits.float()
    chance = logits.sigmoid()
    both = (chance * truth).flatten(2).sum(2)
    total = chance.flatten(2).sum(2) + truth.flatten(2).sum(2)
    entropy = F.binary_cross_entropy_with_logits(logits, truth.expand_as(logits), reduction="none")
    return 1 - (2 * both + 1) / (total + 1) + ENTROPY * entropy.flatten(2).mean(2)


def _upscaled(logits: Tensor, size: int) -> Tensor:
    return F.interpolate(logits.float(), size=(size, size), mode="bilinear")


def _sheet_row(asked: _Asked, found: np.ndarray) -> np.ndarray:
    """A row of a sheet: of each picture the first segment's outline, its answer, its marks."""
    mean, deviation = (np.array(v) for v in (PIXEL_MEAN, PIXEL_STD))
    tiles, number = [], 0
    for pixels, prompts in zip(asked.pixels, asked.prompts, strict=True):
        image = pixels.permute(1, 2, 0).cpu().numpy() * deviation + mean
        for prompt in prompts[:1]:
            tile = image.clip(0, 255).astype(np.uint8).copy()
            tile[found[number]] = tile[found[number]] // 2 + np.array([0, 100, 127], np.uint8)
            outlines, _ = cv2.findContours(
                prompt.truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(tile, outlines, -1, (255, 255, 0), 1)
            side = len(tile)
            for point in prompt.marks.points:
                place = int(point.xy[0] * side), int(point.xy[1] * side)
                cv2.circle(tile, place, 3, (255, 0, 0), -1)
            if prompt.marks.box is not None:
                x0, y0, x1, y1 = (int(v * side) for v in prompt.marks.box)
                cv2.rectangle(tile, (x0, y0), (x1, y1), (255, 0, 0), 1)
            tiles.append(tile)
        number += len(prompts)
    return np.concatenate(tiles, axis=1)
