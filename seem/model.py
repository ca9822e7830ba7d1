"""SEEM: an image is encoded once, prompts about it are answered in milliseconds.

Axes: B images, H W padded pixels, P prompts, n objects or texts, Q queries, K classes, C channels,
h w the mask map (stride 4).

    memory = model.encode_image(pixels)
    prompt = Prompt(spatial=model.encode_marks(memory, bitmaps))
    output = model.decode(memory, [prompt], objects=False)
    answer = model.answer(memory, output, prompt, by="spatial")

(Zou et al., "Segment Everything Everywhere All at Once", arXiv 2304.06718.) The model is built of
submodules and knows no file; `build_seem` makes one from numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from grounding.errors import PromptError
from seem.backbones import Backbone, build_backbone
from seem.choice import Choice, caption_likeness, choose, mask_likeness
from seem.config import SeemConfig
from seem.decoder import Decoder, DecoderOutput, mask_logits
from seem.image_memory import ImageMemory
from seem.pixel_decoder import DeformablePixelDecoder, FpnPixelDecoder
from seem.prompt import Prompt, TextTokens
from seem.prompt_encoder import SpatialTokens
from seem.refiner import MaskRefiner
from seem.rows import drawn_objects
from seem.text_encoder import TextEncoder, TextFeatures

__all__ = ["Answer", "PromptKind", "Seem", "build_seem"]

PromptKind = Literal["spatial", "visual", "text", "audio"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the decoder found for the objects or texts of one prompt.

    Attributes:
        choice: The winning queries and the similarities behind them.
        mask_logits: The winners' masks at stride 4, [n, h, w]; also the next round's `previous`.
        captions: The winners' captions, not normalised, [n, C].
        mask_embeddings: The winners' mask embeddings, [n, C].
    """

    choice: Choice
    mask_logits: Float[Tensor, "n h w"]
    captions: Float[Tensor, "n C"]
    mask_embeddings: Float[Tensor, "n C"]


class Seem(nn.Module):
    """Backbone, pixel decoder, text encoder and decoder."""

    def __init__(
        self,
        config: SeemConfig,
        *,
        backbone: nn.Module,
        pixel_decoder: FpnPixelDecoder | DeformablePixelDecoder,
        text_encoder: TextEncoder,
        decoder: Decoder,
        refiner: MaskRefiner | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.text_encoder = text_encoder
        self.decoder = decoder
        self.refiner = refiner

    def encode_image(self, pixels: Float[Tensor, "B 3 H W"]) -> ImageMemory:
        """Compute everything that depends on images alone.

        Args:
            pixels: Normalised RGB, padded to the backbone's divisor (`seem.preprocess`).
        """
        features = self.pixel_decoder(*self.backbone(pixels))
        memory = self.decoder.remember(features)
        if self.refiner is None:
            return memory
        return replace(memory, refiner=self.refiner.remember(pixels, features))

    def encode_marks(
        self,
        memory: ImageMemory,
        positive: Bool[Tensor, "n H W"],
        negative: Bool[Tensor, "n H W"] | None = None,
        *,
        image: int = 0,
        generator: torch.Generator | None = None,
    ) -> SpatialTokens:
        """Tokens of bitmaps drawn on an image: this one's, or a reference image's.

        Args:
            memory: The image that was drawn on.
            positive: What belongs to each object, in pixels of the padded image.
            negative: What does not.
            image: Which image of the memory.
            generator: Draw at most 512 pixels of larger bitmaps; None: spread them evenly.
        """
        limit = self.config.max_prompt_pixels
        return self.decoder.read_marks(
            memory, positive, negative, image=image, limit=limit, generator=generator
        )

    def encode_text(self, ids: Int[Tensor, "n T"], mask: Bool[Tensor, "n T"]) -> TextTokens:
        """Tokens of texts that one prompt asks for together; of speech, its transcript."""
        features: TextFeatures = self.text_encoder(ids, mask)
        return TextTokens(tokens=features.grounding_tokens, classes=features.embeddings)

    def decode(
        self,
        memory: ImageMemory,
        prompts: Sequence[Prompt],
        *,
        objects: bool = True,
        earlier: bool = False,
    ) -> DecoderOutput:
        """Answer prompts about one image, or one prompt about each; see `Decoder.forward`."""
        return self.decoder(memory, prompts, objects=objects, earlier=earlier)

    def class_logits(
        self, captions: Float[Tensor, "*P Q C"], classes: Float[Tensor, "K C"]
    ) -> Float[Tensor, "*P Q K"]:
        """Logits of classes, given their text embeddings of unit length."""
        return caption_likeness(captions, classes, self.text_encoder.logit_scale)

    def answer(
        self,
        memory: ImageMemory,
        output: DecoderOutput,
        prompt: Prompt,
        by: PromptKind,
        *,
        index: int = 0,
    ) -> Answer:
        """Pick the queries that answer one part of a prompt.

        Args:
            memory: The images that were decoded.
            output: What the decoder said.
            prompt: What was asked.
            by: Which part of it chooses. "spatial" includes reference images where they stand in
                for strokes ("v0", "v1"): drawn objects first, then the reference's.
            index: The prompt's place in its batch.

        Raises:
            PromptError: the prompt has no such part.
        """
        grouping = self.decoder.grouping
        drawn = by in ("spatial", "visual")
        span = output.spans[grouping.spatial_queries if drawn else grouping.text_queries]
        present = output.groups[index, span] >= 0
        captions = output.predictions.captions[index, span][present]
        embeddings = output.predictions.mask_embeddings[index, span][present]
        if drawn:
            owners = output.owners[index, span][present]
            first, means = self._means(prompt, by)
            similarity = mask_likeness(embeddings, owners, means, first=first)
        else:
            text = prompt.text if by == "text" else prompt.audio
            if text is None:
                raise _lacking(by)
            similarity = self.class_logits(captions, text.classes)
        choice = choose(similarity)
        best = embeddings[choice.winner]
        image = memory if len(memory) == 1 else memory.select([index])
        return Answer(
            choice=choice,
            mask_logits=mask_logits(best[None], image)[0],
            captions=captions[choice.winner],
            mask_embeddings=best,
        )

    def _means(self, prompt: Prompt, by: PromptKind) -> tuple[int, Float[Tensor, "n C"]]:
        """Number of the first object that is asked for, and mean features of all of them."""
        if by == "spatial":
            parts, first = drawn_objects(self.decoder.grouping, prompt), 0
        else:
            parts = [] if prompt.visual is None else [prompt.visual]
            first = 0 if prompt.spatial is None else len(prompt.spatial.positive_mean)
        if not parts:
            raise _lacking(by)
        return first, torch.cat([part.positive_mean for part in parts])


def _lacking(by: str) -> PromptError:
    return PromptError(f"the prompt has no {by} part to choose by: name a part that it has")


def build_seem(config: SeemConfig) -> Seem:
    """A model with fresh parameters, on the default device (`torch.device("meta")` for none)."""
    backbone: Backbone = build_backbone(config.backbone)
    kind = FpnPixelDecoder if config.pixel_decoder == "fpn" else DeformablePixelDecoder
    return Seem(
        config,
        backbone=backbone,
        pixel_decoder=kind(
            backbone.channels,
            dim=config.dim,
            heads=config.heads,
            depth=config.encoder_layers,
            hidden=config.encoder_feed_forward,
        ),
        text_encoder=TextEncoder(
            width=config.text_width,
            dim=config.dim,
            heads=config.text_heads,
            layers=config.text_layers,
            context=config.text_context,
            vocabulary=config.vocabulary,
        ),
        decoder=Decoder(config),
        refiner=None
        if config.refiner is None
        else MaskRefiner(config.refiner, dim=config.dim, masks=config.queries_per_object),
    )
