"""The two bundled SEEMs as one: each picture is asked of the one that knows such pictures.

Axes: H W the picture in pixels.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from grounding.errors import PromptError
from seem.encoded_image import EncodedImage
from seem.known_words import KnownWords
from seem.marks import Marks
from seem.predictor import Predictor
from seem.question import Exemplar, Found, Prediction, Question
from weights.registry import PHOTOGRAPHS, STICKERS

__all__ = ["BundledPredictor", "is_sticker_scene", "kind_of"]

log = logging.getLogger(__name__)

LARGEST = 160  # pixels of a sticker scene's longer side; the bundled generator draws 128
FLAT = 6  # largest difference of neighbours of a flat place, of 255
HALF = 0.5  # share of flat places; of rendered scenes 0.8 and more, of drawn ones 0.57 and more


def is_sticker_scene(picture: Image.Image) -> bool:
    """Whether a picture is as the bundled generator draws: small, and flat over half of it.

    A sticker scene that was enlarged is asked as a photograph: clicks and boxes find its things all
    the same, and words that photographs do not know ask the other model.
    """
    if max(picture.size) > LARGEST:
        return False
    seen = np.asarray(picture.convert("RGB")).astype(int)
    across = np.abs(np.diff(seen, axis=1)).max(2)[:-1] <= FLAT
    down = np.abs(np.diff(seen, axis=0)).max(2)[:, :-1] <= FLAT
    return not across.size or float((across & down).mean()) >= HALF


def kind_of(picture: Image.Image) -> str:
    """The name of the bundled model for a picture."""
    return STICKERS if is_sticker_scene(picture) else PHOTOGRAPHS


class BundledPredictor(Predictor):
    """The predictor of the picture at hand; all that is not defined here is that one's."""

    def __init__(self, open_model: Callable[[str], Predictor]) -> None:
        """Join them.

        Args:
            open_model: Opens one of the two by its name, when it is first needed.
        """
        self._open = open_model
        self._opened: dict[str, Predictor] = {}
        self._settings: dict[str, Any] = {}
        self._name = PHOTOGRAPHS  # until there is a picture
        self._other: tuple[EncodedImage, EncodedImage] | None = None

    def __getattr__(self, name: str) -> Any:
        """What only the models have: words, vocabulary, sizes ... of the current one."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._current, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Settings are both models'."""
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        self._settings[name] = value
        for predictor in self._opened.values():
            setattr(predictor, name, value)

    def _chosen(self, image: Any) -> str:
        picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
        name = kind_of(picture)
        log.info("asking the bundled model for %s; --model names another", name)
        return name

    @property
    def _current(self) -> Predictor:
        return self._named(self._name)

    def _named(self, name: str) -> Predictor:
        if name not in self._opened:
            self._opened[name] = self._open(name)
            for setting, value in self._settings.items():
                setattr(self._opened[name], setting, value)
        return self._opened[name]

    @property
    def image(self) -> EncodedImage:
        """The image that is being asked about.

        Raises:
            PromptError: none was set.
        """
        return self._current.image

    def encode(self, image: Any) -> EncodedImage:
        """Encode an image by the model that knows such pictures, and say which."""
        return self._named(self._chosen(image)).encode(image)

    def set_image(self, image: Any) -> None:
        """Take an image, or one that was encoded before, and its model."""
        encoded = image if isinstance(image, EncodedImage) else self.encode(image)
        self._name = _model_of(encoded)
        self._current.set_image(encoded)

    def ask(
        self,
        questions: Sequence[Question],
        *,
        image: EncodedImage | None = None,
        multimask: bool = False,
        batch: int = 1,
    ) -> list[Prediction]:
        """As `Predictor.ask`, of the image's model, or of the one that knows a question's words.

        Raises:
            PromptError: as there; or a reference was read by the other model.
        """
        image = self.image if image is None else image
        answers = []
        for question in questions:
            seen = self._seen_for(question.audio or question.text, image)
            name, reference = _model_of(seen), question.reference
            if reference is not None and (reference.tokens.looks is None) != (name == STICKERS):
                raise PromptError(
                    "the reference and this picture are of two kinds, a drawing and a photograph: "
                    f"name one model for both, {STICKERS} or {PHOTOGRAPHS}"
                )
            asked = self._named(name).ask([question], image=seen, multimask=multimask, batch=batch)
            answers += asked
        return answers

    def find(self, texts: Sequence[str], **settings: Any) -> list[Found]:
        """As `Predictor.find`, each text of the model that knows it."""
        if isinstance(texts, str):
            return self._current.find(texts, **settings)
        found, image = [], self.image
        for text in texts:
            seen = self._seen_for(text, image)
            predictor = self._named(_model_of(seen))
            predictor.set_image(seen)
            found += predictor.find([text], **settings)
        self._current.set_image(image)
        return found

    def _seen_for(self, text: str | None, image: EncodedImage) -> EncodedImage:
        """A photograph as the model for stickers sees it, if that alone knows a text."""
        if text is None or image.picture is None or _knows(self._named(PHOTOGRAPHS), text):
            return image
        stickers = self._named(STICKERS)
        if not _knows(stickers, text):
            return image
        if self._other is None or self._other[0] is not image:
            log.info("%r: asking the bundled model for %s, which knows it", text, STICKERS)
            self._other = image, stickers.encode(image.picture)
        return self._other[1]

    def knows(self, text: str) -> bool:
        """Whether one of the models can be asked about a text on the current image."""
        return self._named(_model_of(self._seen_for(text, self.image))).knows(text)

    def read_class(self, name: str) -> None:
        """As `Predictor.read_class`, of the current image's model."""
        self._current.read_class(name)

    def for_image(self, image: Any) -> Predictor:
        """The model that knows such pictures, for a whole film of them."""
        self._name = self._chosen(image)
        return self._current

    @property
    def asked(self) -> str:
        """The name of the model that the current image, or the words about it, chose."""
        other = self._other is not None and self._other[0] is self._current._image  # noqa: SLF001
        return STICKERS if other else self._name

    @property
    def most_found(self) -> int:
        """As `Predictor.most_found`, of the current image's model."""
        return self._current.most_found

    def askable(self, classes: Sequence[str]) -> list[int]:
        """As `Predictor.askable`, of the current image's model."""
        return self._current.askable(classes)

    def semantic(self, classes: Sequence[str] | None = None) -> Int[Tensor, "H W"]:
        """As `Predictor.semantic`, of the current image's model."""
        return self._current.semantic(classes)

    def exemplar(self, image: Any = None, **drawn: Any) -> Exemplar:
        """As `Predictor.exemplar`; a new reference is read by the current image's model."""
        return self._current.exemplar(image, **drawn)

    def exemplar_of(self, marks: Marks, image: EncodedImage) -> Exemplar:
        """As `Predictor.exemplar_of`, of the image's model."""
        return self._named(_model_of(image)).exemplar_of(marks, image)

    def _objects(
        self, classes: Sequence[str]
    ) -> tuple[Float[Tensor, "Q K+1"], Float[Tensor, "Q h w"]]:
        return self._current._objects(classes)  # noqa: SLF001  (the same class's)

    def _classes(
        self, classes: Sequence[str] | None, things: Collection[str] | None
    ) -> tuple[tuple[str, ...], set[int]]:
        return self._current._classes(classes, things)  # noqa: SLF001


def _model_of(image: EncodedImage) -> str:
    """Which of the two encoded an image."""
    return STICKERS if image.memory.refiner is None else PHOTOGRAPHS


def _knows(predictor: Predictor, text: str) -> bool:
    """Whether a text ends with a thing of the model's vocabulary."""
    names = () if predictor.vocabulary is None else predictor.vocabulary.names
    return KnownWords(names).find(text) is not None
