"""Embedder: whatever puts texts, pictures or recordings into one space, near what they mean.

The plug-in point of retrieval and zero-shot classification. CLIP (texts and pictures) and CLAP
(texts and recordings) are there: `weights.clip`, `weights.clap`. ImageBind (Girdhar et al.,
arXiv 2305.05665), whose one space holds pictures, texts, sounds and more, is no package of an
index and comes under a licence of its own (CC-BY-NC 4.0); who has installed it from
https://github.com/facebookresearch/ImageBind writes a module `my_imagebind.py`

    class ImageBind:
        name, modalities, scale = "imagebind", frozenset({"text", "image", "audio"}), 100.0
        fingerprint = "imagebind_huge"

        def __init__(self):
            self.model = imagebind_model.imagebind_huge(pretrained=True).eval()

        def embed(self, items):
            return torch.cat([self._embed(item) for item in items])

whose `_embed` hands one item to the model as the loaders of ImageBind's `data.py` do and gives its
vector length one, where Python finds it (`PYTHONPATH`), and says `--model my_imagebind:ImageBind`.

Axes: N items, C channels of the space.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from PIL import Image

from grounding.errors import PromptError
from grounding.recording import Recording

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Embedder", "Item", "Modality", "check_modality", "modality_of"]

Modality = Literal["text", "image", "audio"]
Item = str | Image.Image | Recording


class Embedder(Protocol):
    """Gives each item a vector of length one; the nearer two vectors, the nearer their meaning."""

    @property
    def name(self) -> str:
        """What the model is called."""
        ...

    @property
    def fingerprint(self) -> str:
        """What its vectors depend on, in letters and digits: with another one they are others."""
        ...

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it can read."""
        ...

    @property
    def scale(self) -> float:
        """What cosines are multiplied with before a softmax: CLIP's inverse temperature."""
        ...

    def embed(self, items: Sequence[Any]) -> "Tensor":
        """Return vectors of length one, float32 [N, C]; an item's does not depend on the others.

        Args:
            items: Texts, RGB pictures, recordings; of modalities that it can read.
        """
        ...


def modality_of(item: Item) -> Modality:
    """Return what kind of thing an item is."""
    if isinstance(item, str):
        return "text"
    return "audio" if isinstance(item, Recording) else "image"


def check_modality(embedder: Embedder, modality: Modality, flag: str = "--model") -> None:
    """Refuse what an embedder cannot read.

    Args:
        embedder: Which one.
        modality: What it is to read.
        flag: The option that names another.

    Raises:
        PromptError: It reads something else.
    """
    if modality not in embedder.modalities:
        known = ", ".join(sorted(embedder.modalities))
        raise PromptError(
            f"{embedder.name} reads {known}, not {modality}: choose another with {flag}"
        )
