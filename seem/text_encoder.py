"""The text encoder: texts to one vector each, and to tokens that image queries can look at.

Axes: B texts, T places of a text (77 or fewer), W channels inside, C channels of the result.

A causal transformer of pre-norm blocks with CLIP's activation z * sigmoid(1.702 z) (Radford et
al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020,
section 2.4), in the form of UniCL (Yang et al., arXiv 2204.03610) that X-Decoder and SEEM took
over: the vector of a text is its end token's. No place sees what comes after it, so whatever pads
a text changes nothing of it; the end token must be the highest id, as in CLIP's vocabulary.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from grounding.errors import PromptError
from seem.multihead import MultiheadAttention

__all__ = ["TextEncoder", "TextFeatures", "normalised"]

NORM_EPSILON = 1e-12  # UniCL's LayerNorm
LENGTH_EPSILON = 1e-7  # X-Decoder: v / (|v| + 1e-7)
QUICK_GELU = 1.702  # CLIP
EXPANSION = 4  # of a block's feed-forward layer
INITIAL_STD = 0.02  # UniCL
INITIAL_LOGIT_SCALE = 1.0  # UniCL


@dataclass(frozen=True, kw_only=True)
class TextFeatures:
    """What the encoder says of some texts.

    Attributes:
        tokens: Projected places, not normalised, [B, T, C].
        pooled: The projected end tokens, not normalised, [B, C].
        hidden: Places after the final norm, not projected, [B, T, W].
        mask: Places that belong to a text, the start and end tokens included, [B, T].
    """

    tokens: Float[Tensor, "B T C"]
    pooled: Float[Tensor, "B C"]
    hidden: Float[Tensor, "B T W"]
    mask: Bool[Tensor, "B T"]

    @property
    def embeddings(self) -> Float[Tensor, "B C"]:
        """The texts' vectors at length one: their products are cosines."""
        return normalised(self.pooled)

    @property
    def grounding_tokens(self) -> Float[Tensor, "N C"]:
        """The attended tokens of all texts, one text after the other."""
        return self.tokens[self.mask]


class TextEncoder(nn.Module):
    """UniCL's language encoder."""

    def __init__(
        self,
        *,
        width: int = 512,
        dim: int = 512,
        heads: int = 8,
        layers: int = 12,
        context: int = 77,
        vocabulary: int = 49408,
    ) -> None:
        """Build it.

        Args:
            width: Channels inside.
            dim: Channels of the result.
            heads: Attention heads of a block.
            layers: Blocks.
            context: The longest text, in tokens.
            vocabulary: Number of token ids; the last is the end token.
        """
        super().__init__()
        self.context, self.vocabulary = context, vocabulary
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.projection = nn.Parameter(torch.empty(width, dim))
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))
        for weight in (self.token_embedding.weight, self.positional_embedding, self.projection):
            nn.init.trunc_normal_(weight, std=INITIAL_STD)

    def forward(
        self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"] | Int[Tensor, "B T"]
    ) -> TextFeatures:
        """Encode texts of token ids, each with its end token.

        Args:
            ids: Token ids; T may be less than the encoder's context.
            mask: The tokenizer's attention mask, true (1) where a text is. It selects the
                grounding tokens; attention itself is causal and needs none.

        Raises:
            PromptError: A text is too long, or holds ids outside the vocabulary.
        """
        self._check(ids, mask)
        length = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[:length]
        earlier = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        for block in self.resblocks:
            x = block(x, earlier[None, None])
        hidden = self.ln_final(x)
        tokens = hidden @ self.projection
        ends = _first_largest(ids)
        return TextFeatures(
            tokens=tokens,
            pooled=tokens[torch.arange(len(ids), device=ids.device), ends],
            hidden=hidden,
            mask=mask.bool(),
        )

    def embed(
        self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"] | Int[Tensor, "B T"]
    ) -> Float[Tensor, "B C"]:
        """The vectors of texts, as `forward(...).embeddings`, in less time where they begin alike.

        No place sees what follows it, so texts of one beginning share what is computed of it: all
        texts are one sequence, in which each place of a tree of beginnings stands once and sees
        the places on its way to the root. Sentences about one class, of CLIP's 81, have 2.5 times
        as many places as their tree, the padding included.

        Args and Raises: as for `forward`.
        """
        self._check(ids, mask)
        tree = _grow_tree(ids)
        x = (self.token_embedding(tree.ids) + self.positional_embedding[tree.depths])[None]
        for block in self.resblocks:
            x = block(x, tree.sees[None, None])
        return normalised(self.ln_final(x[0, tree.ends]) @ self.projection)

    def _check(self, ids: Tensor, mask: Tensor) -> None:
        if ids.ndim != 2 or ids.shape != mask.shape:
            raise PromptError(
                "token ids and their mask must both be [texts, tokens]; got "
                f"{list(ids.shape)} and {list(mask.shape)}: pad the texts to one length"
            )
        if ids.shape[1] > self.context:
            raise PromptError(
                f"a text may have {self.context} tokens, got {ids.shape[1]}: shorten it"
            )
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocabulary:
            raise PromptError(
                f"token ids must be in 0..{self.vocabulary - 1}, got {int(ids.min())}.."
                f"{int(ids.max())}: use the tokenizer that belongs to this model"
            )


class _Block(nn.Module):
    """Attention and feed-forward, each after a norm and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.mlp = _FeedForward(width)
        self.ln_2 = nn.LayerNorm(width, eps=NORM_EPSILON)

    def forward(
        self, x: Float[Tensor, "B T W"], mask: Bool[Tensor, "1 1 T T"]
    ) -> Float[Tensor, "B T W"]:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, mask=mask)
        return x + self.mlp(self.ln_2(x))


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, EXPANSION * width)
        self.c_proj = nn.Linear(EXPANSION * width, width)

    def forward(self, x: Float[Tensor, "B T W"]) -> Float[Tensor, "B T W"]:
        inner = self.c_fc(x)
        return self.c_proj(inner * torch.sigmoid(QUICK_GELU * inner))


def normalised(vectors: Float[Tensor, "*N C"]) -> Float[Tensor, "*N C"]:
    """Vectors at length one, as SEEM computes it: v / (|v| + 1e-7)."""
    return vectors / (vectors.norm(dim=-1, keepdim=True) + LENGTH_EPSILON)


@dataclass(frozen=True, kw_only=True)
class _Tree:
    """Beginnings of texts, each once; N of them, every one after those that it goes on from.

    Attributes:
        ids: The last token of each, [N].
        depths: Its place in the text, [N].
        sees: Which others it begins with, itself included, [N, N].
        ends: The beginning that is all of a text, [B].
    """

    ids: Int[Tensor, " N"]
    depths: Int[Tensor, " N"]
    sees: Bool[Tensor, "N N"]
    ends: Int[Tensor, " B"]


def _grow_tree(ids: Int[Tensor, "B T"]) -> _Tree:
    """The beginnings of texts, up to their end tokens."""
    numbers: dict[tuple[int, int], int] = {}  # (what it goes on from, token) -> its number
    ways: list[list[int]] = []
    tokens, ends = [], []
    for row, end in zip(ids.tolist(), _first_largest(ids).tolist(), strict=True):
        here = -1
        for token in row[: end + 1]:
            before, here = here, numbers.setdefault((here, token), len(numbers))
            if here == len(ways):
                ways.append([*(ways[before] if before >= 0 else []), here])
                tokens.append(token)
        ends.append(here)
    sees = torch.zeros(len(ways), len(ways), dtype=torch.bool)
    for number, way in enumerate(ways):
        sees[number, way] = True
    device = ids.device
    return _Tree(
        ids=torch.tensor(tokens, device=device),
        depths=torch.tensor([len(way) - 1 for way in ways], device=device),
        sees=sees.to(device),
        ends=torch.tensor(ends, device=device),
    )


def _first_largest(ids: Int[Tensor, "B T"]) -> Int[Tensor, " B"]:
    """Place of each row's largest id, the first of equals (argmax does not promise which)."""
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    largest = ids == ids.amax(dim=1, keepdim=True)
    return places.masked_fill(~largest, ids.shape[1]).amin(dim=1)
