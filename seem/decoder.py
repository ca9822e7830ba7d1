"""SEEM's decoder: masked attention to an image, and attention among queries and prompts.

Axes: B images, P prompts, R rows, Q rows that predict masks, C channels, N pixels of a level,
K tokens read from images, L levels (strides 32, 16, 8), h w the mask features' map (stride 4).

Nine times: queries look at the image where their last masks were (masked attention: Cheng et al.,
"Masked-attention Mask Transformer", arXiv 2112.01527, section 3.2.1), rows look at one another as
`seem.attention_groups` allows, a feed-forward network follows. Each step is post-norm. What a row
predicts: a mask embedding, whose product with the mask features is its mask, and a caption
embedding, whose cosine with a text is their likeness (X-Decoder, arXiv 2212.11270, section 3;
SEEM, arXiv 2304.06718, section 3). Parameter names are the official ones, but for
`spatial_projection` (officially `mask_sptial_embed`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from grounding.errors import PromptError
from seem.attention_groups import GROUPINGS, Group, self_attention_mask
from seem.config import SeemConfig
from seem.image_memory import ImageMemory
from seem.multihead import MultiheadAttention
from seem.pixel_decoder import PixelFeatures
from seem.positions import sine_positions, sine_positions_at
from seem.prompt import Prompt
from seem.prompt_encoder import SpatialTokens, encode_marks, mark_pixels
from seem.rows import Learned, Rows, lay_out

__all__ = ["Decoder", "DecoderOutput", "Predictions", "mask_logits"]

LEVELS = 3  # maps of the pixel decoder that the layers look at, in turn
MASK_LAYERS = 3  # linear layers of the mask embedding


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What queries say after a layer.

    Attributes:
        captions: To be compared with texts, not normalised, [P, Q, C].
        mask_embeddings: To be multiplied with mask features, [P, Q, C].
    """

    captions: Float[Tensor, "P Q C"]
    mask_embeddings: Float[Tensor, "P Q C"]

    def at(self, rows: slice) -> "Predictions":
        """Those of some rows."""
        return Predictions(
            captions=self.captions[:, rows], mask_embeddings=self.mask_embeddings[:, rows]
        )


@dataclass(frozen=True, kw_only=True)
class DecoderOutput:
    """The decoder's result.

    Attributes:
        predictions: Of all queries, after the last layer.
        spans: Where the queries of each group lie among them.
        groups: `Group` of each query, ABSENT for padding, [P, Q].
        owners: The object that each query serves, [P, Q].
        earlier: If asked for: the predictions before each layer.
    """

    predictions: Predictions
    spans: Mapping[Group, slice]
    groups: Int[Tensor, "P Q"]
    owners: Int[Tensor, "P Q"]
    earlier: tuple[Predictions, ...] = ()


def mask_logits(
    mask_embeddings: Float[Tensor, "P Q C"], memory: ImageMemory
) -> Float[Tensor, "P Q h w"]:
    """Masks at stride 4: the products of mask embeddings and mask features."""
    features = memory.mask_features
    return (mask_embeddings @ features.flatten(2)).unflatten(2, features.shape[-2:])


class _SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        states: Float[Tensor, "P R C"],
        places: Float[Tensor, "P R C"],
        fresh: Float[Tensor, "P K C"],
        mask: Bool[Tensor, "P 1 R RK"],
    ) -> Float[Tensor, "P R C"]:
        """Rows look at one another and at fresh tokens, whose place is their own content."""
        asking = torch.cat([states + places, 2 * fresh], dim=1)
        key = self.self_attn.keys(asking)
        value = self.self_attn.values(torch.cat([states, fresh], dim=1))
        query = self.self_attn.queries(asking[:, : states.shape[1]])
        return self.norm(states + self.self_attn.attend(query, key, value, mask=mask))


class _CrossAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = MultiheadAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        states: Float[Tensor, "P R C"],
        places: Float[Tensor, "P R C"],
        key: Float[Tensor, "B A N E"],
        value: Float[Tensor, "B A N E"],
        mask: Bool[Tensor, "P 1 R N"],
    ) -> Float[Tensor, "P R C"]:
        """Rows look at the image's remembered keys and values."""
        query = self.multihead_attn.queries(states + places)
        key = key.expand(len(query), -1, -1, -1)
        value = value.expand(len(query), -1, -1, -1)
        return self.norm(states + self.multihead_attn.attend(query, key, value, mask=mask))


class _FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, states: Float[Tensor, "P R C"]) -> Float[Tensor, "P R C"]:
        """Each row thinks by itself."""
        return self.norm(states + self.linear2(F.relu(self.linear1(states))))


class _Mlp(nn.Module):
    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))

    def forward(self, rows: Tensor) -> Tensor:
        """Linear layers with ReLU between them."""
        for layer in self.layers[:-1]:
            rows = F.relu(layer(rows))
        return self.layers[-1](rows)


def _projection(dim: int) -> nn.Parameter:
    """A square matrix that keeps the length of vectors, about."""
    return nn.Parameter(nn.init.normal_(torch.empty(dim, dim), std=dim**-0.5))


class Decoder(nn.Module):
    """All layers, the learned queries and the prompts' projections.

    The official decoder keeps the levels' input projections as identities (features already have
    its width), so they have no parameters.
    """

    def __init__(self, config: SeemConfig) -> None:
        """Build it; backbone, pixel decoder and texts are not its concern."""
        super().__init__()
        self.grouping = GROUPINGS[config.grouping]
        self.dim, self.queries = config.dim, config.queries
        self.queries_per_object = config.queries_per_object
        self.mark_positions = config.mark_positions
        dim, heads, hidden = config.dim, config.heads, config.feed_forward
        depth = range(config.layers)
        self.transformer_self_attention_layers = nn.ModuleList(
            _SelfAttention(dim, heads) for _ in depth
        )
        self.transformer_cross_attention_layers = nn.ModuleList(
            _CrossAttention(dim, heads) for _ in depth
        )
        self.transformer_ffn_layers = nn.ModuleList(_FeedForward(dim, hidden) for _ in depth)
        self.decoder_norm = nn.LayerNorm(dim)
        self.class_embed = _projection(dim)
        self.mask_embed = _Mlp(dim, MASK_LAYERS)
        self.query_feat = nn.Embedding(config.queries, dim)
        self.query_embed = nn.Embedding(config.queries, dim)
        self.level_embed = nn.Embedding(LEVELS, dim)
        self.spatial_projection = nn.ParameterList(_projection(dim) for _ in range(LEVELS))
        self.spatial_featured = nn.Embedding(config.memories, dim)
        self.spatial_embed = nn.Embedding(config.memories, dim)
        self.pn_indicator = nn.Embedding(2, dim)

    @property
    def default_picks(self) -> Int[Tensor, " k"]:
        """The learned queries of a "v1" object that picks none: the middles of equal parts.

        The official code draws them anew for each prompt, so its masks change from run to run.
        """
        parts = self.queries_per_object
        picks = torch.arange(parts, device=self.query_feat.weight.device)
        return (2 * picks + 1) * self.queries // (2 * parts)

    def random_picks(self, objects: int, generator: torch.Generator) -> Int[Tensor, "n k"]:
        """Queries for each object as the official code draws them, with replacement."""
        shape = (objects, self.queries_per_object)
        return torch.randint(self.queries, shape, generator=generator)

    def remember(self, features: PixelFeatures) -> ImageMemory:
        """Compute all that depends on the images alone, once."""
        levels, resized, sources = [], [], []
        for i, level in enumerate(features.multi_scale):
            high, wide = level.shape[-2:]
            level = level + self.level_embed.weight[i][:, None, None]
            place = sine_positions(high, wide, self.dim, device=level.device, dtype=level.dtype)
            flat = level.flatten(2).transpose(1, 2)
            small = F.interpolate(features.mask_features, (high, wide), mode="bilinear")
            levels.append(level)
            resized.append(small.flatten(2))
            sources.append((flat + place.flatten(1).T, flat))
        keys, values = [], []
        for i, layer in enumerate(self.transformer_cross_attention_layers):
            assert isinstance(layer, _CrossAttention)
            placed, flat = sources[i % LEVELS]
            # head after head: each prompt reads all of them, in half the time of strided rows
            keys.append(layer.multihead_attn.keys(placed).contiguous())
            values.append(layer.multihead_attn.values(flat).contiguous())
        return ImageMemory(
            mask_features=features.mask_features,
            levels=tuple(levels),
            level_mask_features=tuple(resized),
            keys=tuple(keys),
            values=tuple(values),
        )

    def read_marks(
        self,
        memory: ImageMemory,
        positive: Bool[Tensor, "n H W"],
        negative: Bool[Tensor, "n H W"] | None = None,
        *,
        image: int = 0,
        limit: int = 512,
        generator: torch.Generator | None = None,
    ) -> SpatialTokens:
        """Tokens of bitmaps that are drawn on an image of the memory.

        Args:
            memory: The image that was drawn on; for a reference prompt, the reference image.
            positive: What belongs to each object, in pixels of the padded image.
            negative: What does not.
            image: Which image of the memory.
            limit: The most pixels that are read of an object's positive, and negative, bitmap.
            generator: Draw the pixels that are kept; None: spread them evenly.

        Raises:
            PromptError: a bitmap is empty or has not the padded image's size.
        """
        if positive.ndim != 3 or positive.shape[1:] != memory.padded_size:
            raise PromptError(
                f"bitmaps must be [objects, {memory.padded_size[0]}, {memory.padded_size[1]}], "
                f"the padded image's size; got {list(positive.shape)}"
            )
        return encode_marks(
            mark_pixels(positive, negative, limit, generator),
            [level[image] for level in memory.levels],
            memory.mask_features[image],
            list(self.spatial_projection),
            self.pn_indicator.weight,
        )

    def forward(
        self,
        memory: ImageMemory,
        prompts: Sequence[Prompt],
        *,
        objects: bool = True,
        earlier: bool = False,
    ) -> DecoderOutput:
        """Answer a batch of prompts.

        Args:
            memory: One image for all prompts, or one for each.
            prompts: What is asked.
            objects: Run the object queries too. Nothing else depends on them in "v0" and "v1", so
                interactive use saves their time; "demo" has no other queries and always runs them.
            earlier: Keep the predictions before each layer (deep supervision).

        Raises:
            PromptError: there are no prompts, or no queries to run, or more or fewer than images.
        """
        if not prompts or len(memory) not in (1, len(prompts)):
            raise PromptError(
                f"the decoder needs one image, or one for each prompt; got {len(memory)} images "
                f"and {len(prompts)} prompts (ImageMemory.select repeats images)"
            )
        rows = lay_out(
            self.grouping,
            self._learned(),
            [self._placed(prompt) for prompt in prompts],
            objects=objects,
            default_picks=self.default_picks,
            levels=LEVELS,
        )
        if not rows.queries:
            raise PromptError("nothing is asked: give a prompt, or run the object queries")
        carried = rows.states.shape[1]
        mask = self_attention_mask(
            self.grouping,
            rows.groups[:, :carried],
            rows.owners[:, :carried],
            rows.groups,
            rows.owners,
        )
        states, history = rows.states, []
        for i in range(len(self.transformer_ffn_layers)):
            queries = states[:, : rows.queries]
            if earlier:
                history.append(self._predict(queries))
            open_pixels = self._open_pixels(queries, rows, memory, i % LEVELS)
            states = self._layer(i, states, rows, memory, mask, open_pixels)
        return DecoderOutput(
            predictions=self._predict(states[:, : rows.queries]),
            spans=rows.spans,
            groups=rows.groups[:, : rows.queries],
            owners=rows.owners[:, : rows.queries],
            earlier=tuple(history),
        )

    def _placed(self, prompt: Prompt) -> Prompt:
        """The prompt whose drawing knows where it lies; one on a reference image lies nowhere."""
        drawn = prompt.spatial
        if not self.mark_positions or drawn is None:
            return prompt
        tokens = drawn.tokens + sine_positions_at(drawn.places, self.dim).to(drawn.tokens)
        return replace(prompt, spatial=replace(drawn, tokens=tokens))

    def _learned(self) -> Learned:
        return Learned(
            queries=self.query_feat.weight,
            query_places=self.query_embed.weight,
            memories=self.spatial_featured.weight,
            memory_places=self.spatial_embed.weight,
        )

    def _predict(self, queries: Float[Tensor, "P Q C"]) -> Predictions:
        normed = self.decoder_norm(queries)
        return Predictions(
            captions=normed @ self.class_embed, mask_embeddings=self.mask_embed(normed)
        )

    def _open_pixels(
        self, queries: Float[Tensor, "P Q C"], rows: Rows, memory: ImageMemory, level: int
    ) -> Bool[Tensor, "P 1 R N"]:
        """Where rows may look: inside their last masks; anywhere if that is nowhere."""
        embeddings = self.mask_embed(self.decoder_norm(queries))
        logits = [embeddings @ memory.level_mask_features[level]]
        if rows.previous is not None:
            size = memory.levels[level].shape[-2:]
            logits.append(F.interpolate(rows.previous, size, mode="bilinear").flatten(2))
        inside = torch.cat(logits, dim=1) >= 0
        return (inside | ~inside.any(-1, keepdim=True))[:, None]

    def _layer(
        self,
        number: int,
        states: Float[Tensor, "P R C"],
        rows: Rows,
        memory: ImageMemory,
        mask: Bool[Tensor, "P 1 R RK"],
        open_pixels: Bool[Tensor, "P 1 crossing N"],
    ) -> Float[Tensor, "P R C"]:
        """One layer: the image, one another, oneself."""
        crossing = open_pixels.shape[2]
        crossed = self.transformer_cross_attention_layers[number](
            states[:, :crossing],
            rows.places[:, :crossing],
            memory.keys[number],
            memory.values[number],
            open_pixels,
        )
        states = torch.cat([crossed, states[:, crossing:]], dim=1)
        fresh = rows.fresh[number % LEVELS]
        states = self.transformer_self_attention_layers[number](states, rows.places, fresh, mask)
        return self.transformer_ffn_layers[number](states)
