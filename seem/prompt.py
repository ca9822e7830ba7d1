"""What one pass of SEEM's decoder is asked about one image.

Axes: T tokens, C channels, n texts or objects, k queries of an object, h w the mask map (stride 4).
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from seem.prompt_encoder import SpatialTokens

__all__ = ["Prompt", "TextTokens"]


@dataclass(frozen=True, kw_only=True)
class TextTokens:
    """One or more texts, or transcripts of speech, that the pass answers together.

    Attributes:
        tokens: The attended tokens of all texts, one after the other, not normalised, [T, C].
        classes: Each text's own embedding, of unit length, [n, C].
    """

    tokens: Float[Tensor, "T C"]
    classes: Float[Tensor, "n C"]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Everything that is asked at once; all parts may be left out.

    Attributes:
        spatial: Strokes, points, boxes and masks on this image. "v1" takes several objects, the
            others one.
        visual: Tokens that were read from a reference image. Where the grouping has no place of
            its own for them ("v0", "v1") they stand where `spatial` would.
        text: Texts.
        audio: Speech, as the tokens of its transcript.
        previous: The last round's mask logits of each object at stride 4, [n, h, w]; None in the
            first round. Not for "demo", which has no memory.
        picks: Which of the learned queries serve each object, [n, k]; "v1" only. None: the
            decoder's own choice.
    """

    spatial: SpatialTokens | None = None
    visual: SpatialTokens | None = None
    text: TextTokens | None = None
    audio: TextTokens | None = None
    previous: Float[Tensor, "n h w"] | None = None
    picks: Int[Tensor, "n k"] | None = None

    @property
    def said(self) -> TextTokens | None:
        """The words that the answer is judged by: the text, else the speech."""
        return self.audio if self.text is None else self.text
