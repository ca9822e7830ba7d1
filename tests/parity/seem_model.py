"""Our version of every array of SEEM's golden files.

Axes: as in the files: arrays are strided slices of images, maps, masks and similarities.

An array's name begins with the prompt or the part that it belongs to ("round2.mask"). What a file
was computed from, its configuration, is read from its arrays, never from its name.
"""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seem.config import CONFIGS, SeemConfig
from seem.decoder import DecoderOutput, mask_logits
from seem.image_memory import ImageMemory
from seem.model import Answer, PromptKind, build_seem
from seem.postprocess import label_map, semantic
from seem.preprocess import Preprocessed, preprocess
from seem.prompt import Prompt, TextTokens
from seem.prompt_encoder import SpatialTokens
from tests.parity import seem_inputs as inputs
from tests.parity.seem_files import SAM_STRIDES, Strides, filled, recognise

STRANGER = -1e9  # what the files record for queries of other objects
NO_NEGATIVE = -1.0  # what official v1 code averages over no negative pixels
ROUNDING = 1e-5  # float32's error of mask logits, of the largest one
TEXTS = {
    "text": ("short",),
    "texts": ("short", "medium"),
    "text_long": ("long",),
    "text_point": ("short",),
}
DRAWN = {
    "point": ("point", None),
    "scribble": ("scribble", None),
    "stroke": ("scribble", None),
    "box": ("box", None),
    "big": ("big", None),
    "posneg": ("scribble", "neg"),
    "stroke_neg": ("scribble", "neg"),
    "text_point": ("point", None),
    "round2": ("round2", None),
    "round3": ("round2", "neg"),
}
EARLIER_ROUND = {"round2": "point", "round3": "round2"}


class NotCoveredError(Exception):
    """An array of something that lavallama does not compute."""


class GoldenModel:
    """A model and its inputs, both made of names, and every array of a file computed from them."""

    def __init__(
        self, golden: Mapping[str, np.ndarray], tag: str, config: str = "", grouping: str = ""
    ) -> None:
        found = recognise(golden)
        name, self.grouping = config or found[0], grouping or found[1]
        self.golden, self.tag = golden, tag
        self.config: SeemConfig = replace(CONFIGS[name], grouping=self.grouping)
        shared = filled(name)
        with torch.device("meta"):
            self.model = build_seem(self.config)
        self.model.load_state_dict(shared.state_dict(), assign=True)
        self.model.requires_grad_(False).eval()
        self.sam = self.model.backbone.size_divisibility == 1024
        self.strides = SAM_STRIDES if self.sam else Strides()
        self.answers: dict[str, Answer] = {}
        self.outputs: dict[str, DecoderOutput] = {}
        self.prompts: dict[str, Prompt] = {}

    @cached_property
    def pixels(self) -> np.ndarray:
        """The main image."""
        if self.sam:
            return inputs.image(self.tag + "sam.image", *inputs.SAM_IMAGE_SIZE)
        return inputs.image(self.tag + "image", *inputs.IMAGE_SIZE)

    @cached_property
    def preprocessed(self) -> Preprocessed:
        """It, normalised and padded."""
        return self._preprocess(self.pixels)

    def _preprocess(self, picture: np.ndarray) -> Preprocessed:
        divisor = self.model.backbone.size_divisibility
        assert isinstance(divisor, int)
        return preprocess([torch.from_numpy(picture)], divisor=divisor)

    @cached_property
    def backbone(self) -> tuple[Tensor, ...]:
        """The maps res2 to res5."""
        return self.model.backbone(self.preprocessed.pixels)

    @cached_property
    def features(self):
        """The pixel decoder's maps."""
        return self.model.pixel_decoder(*self.backbone)

    @cached_property
    def memory(self) -> ImageMemory:
        """The main image, remembered."""
        return self.model.decoder.remember(self.features)

    @cached_property
    def reference_pixels(self) -> np.ndarray:
        """The reference image."""
        return inputs.image(self.tag + "reference", *inputs.IMAGE_SIZE)

    @cached_property
    def reference_tokens(self) -> SpatialTokens:
        """What the reference image says of its marked object."""
        memory = self.model.encode_image(self._preprocess(self.reference_pixels).pixels)
        return self.model.encode_marks(memory, self.bitmap("ref")[None])

    @cached_property
    def classes(self) -> Tensor:
        """Embeddings of the seven classes."""
        return torch.from_numpy(inputs.class_embeddings(self.tag))

    @cached_property
    def seg(self) -> DecoderOutput:
        """The object queries, without any prompt."""
        return self.model.decode(self.memory, [Prompt()], earlier=True)

    def bitmap(self, name: str) -> Tensor:
        """A drawn prompt in pixels of the padded image."""
        size = self.preprocessed.sizes[0]
        if name == "box":
            pixels = self.golden["click.box.pixels_yx"]
            mask = inputs.mask_of_pixels(pixels, *size.image)
        else:
            masks = inputs.prompt_masks(self.tag, *size.image)
            masks["round2"] = masks["point"] | masks["point2"]
            masks["none"] = np.zeros_like(masks["point"])
            mask = masks[name]
        bottom, right = (p - s for p, s in zip(size.padded, size.image, strict=True))
        return F.pad(torch.from_numpy(mask), (0, right, 0, bottom))

    def drawn(self, *objects: tuple[str, str | None]) -> SpatialTokens:
        """Tokens of (positive, negative) bitmaps by name."""
        positive = torch.stack([self.bitmap(yes) for yes, _ in objects])
        negative = torch.stack([self.bitmap(no or "none") for _, no in objects])
        return self.model.encode_marks(self.memory, positive, negative)

    @cache  # noqa: B019  (a golden model lives as long as the program)
    def text(self, names: tuple[str, ...]) -> TextTokens:
        """Texts of one pass."""
        texts = inputs.token_ids(self.tag)
        ids = torch.from_numpy(np.stack([texts[name][0] for name in names]))
        mask = torch.from_numpy(np.stack([texts[name][1] for name in names]))
        return self.model.encode_text(ids, mask)

    def prompt(self, name: str) -> Prompt:
        """The prompt that a name stands for."""
        spatial = visual = text = audio = None
        words = name.split("_")
        if name == "two_objects":
            spatial = self.drawn(("point", "neg"), ("scribble", None))
        elif name in DRAWN:
            spatial = self.drawn(DRAWN[name])
        elif "stroke" in words:
            spatial = self.drawn(DRAWN["stroke"])
        if name == "reference" or "visual" in words:
            visual = self.reference_tokens
        if name in TEXTS or "text" in words:
            text = self.text(TEXTS.get(name, ("short",)))
        if "audio" in words:
            audio = self.text(("medium",))
        if not any((spatial, visual, text, audio)):
            raise NotCoveredError(name)
        previous = None
        if name in EARLIER_ROUND:
            previous = self.answer(EARLIER_ROUND[name]).mask_logits
        picks = self.golden.get(f"{name}.picked_queries")
        return Prompt(
            spatial=spatial,
            visual=visual,
            text=text,
            audio=audio,
            previous=previous,
            picks=None if picks is None else torch.from_numpy(picks.astype(np.int64)).view(-1, 3),
        )

    def answer(self, name: str) -> Answer:
        """The answer to a named prompt; the decoder runs once for each."""
        if name not in self.answers:
            prompt = self.prompt(name)
            output = self.model.decode(self.memory, [prompt], earlier=True)
            self.prompts[name], self.outputs[name] = prompt, output
            by = self.chosen_by(name, prompt)
            self.answers[name] = self.model.answer(self.memory, output, prompt, by)
        return self.answers[name]

    def chosen_by(self, name: str, prompt: Prompt) -> PromptKind:
        """Which part of a prompt chooses the winner."""
        if self.grouping != "demo" and name in TEXTS:
            return "text"
        order: tuple[PromptKind, ...] = ("spatial", "visual", "text", "audio")
        return next(kind for kind in order if getattr(prompt, kind) is not None)

    @torch.no_grad()
    def compute(self, name: str) -> np.ndarray:
        """Our version of an array of the file.

        Raises:
            NotCoveredError: we have none.
        """
        if name.endswith(".stat"):
            whole = self._whole(name.removesuffix(".stat")).double()
            numbers = [whole.mean(), whole.std(correction=0), whole.abs().max()]
            return torch.stack(numbers).numpy()
        first, _, rest = name.partition(".")
        if first in ("image", "preprocessed", "backbone", "mask_features", "multi_scale"):
            return _array(self._image_array(name))
        if first == "seg":
            return _array(self._seg_array(rest))
        if first == "evaluate":
            return _array(self._evaluate_array(rest))
        if name == "reference.image.crc32":
            return np.array([zlib.crc32(self.reference_pixels.tobytes())])
        if name.startswith("reference.tokens"):
            return _array(self.reference_tokens.tokens[int(rest[-1]), ::19, ::4])
        if name == "reference.pvisual":
            return _array(self.reference_tokens.positive_mean)
        return _array(self._prompt_array(first, rest))

    def _whole(self, name: str) -> Tensor:
        """An image's map before it is thinned out."""
        first, _, rest = name.partition(".")
        if first == "backbone":
            return self.backbone[int(rest[-1]) - 2]
        if name == "mask_features":
            return self.features.mask_features
        if first == "multi_scale":
            return self.features.multi_scale[int(rest)]
        if name == "seg.pred_masks":
            return mask_logits(self.seg.predictions.mask_embeddings, self.memory)[0]
        raise NotCoveredError(name)

    def _image_array(self, name: str) -> Tensor | np.ndarray:
        stride = self.strides
        if name == "image.crc32":
            return np.array([zlib.crc32(self.pixels.tobytes())])
        if name == "image":
            return self.pixels[:, :: stride.image, :: stride.image]
        if name == "preprocessed.shape":
            return np.array(self.preprocessed.pixels.shape)
        if name == "preprocessed":
            return self.preprocessed.pixels[..., :: stride.preprocessed, :: stride.preprocessed]
        whole, number = self._whole(name), int(name[-1]) if name[-1].isdigit() else 0
        if name.startswith("backbone"):
            step = stride.backbone[number - 2]
            return whole[:, :: (12, 12, 16, 16)[number - 2], ::step, ::step]
        if name == "mask_features":
            return whole[:, ::16, :: stride.mask_features[0], :: stride.mask_features[1]]
        step = stride.multi_scale[number]
        return whole[:, ::32, ::step, ::step]

    def _seg_array(self, name: str) -> Tensor:
        output, step = self.seg, self.strides.aux_masks
        if name == "pred_logits":
            return self.model.class_logits(output.predictions.captions, self.classes)[0]
        if name == "pred_masks":
            every = self.strides.seg_masks
            return self._whole("seg.pred_masks")[::10, ::every, ::every]
        if name == "aux_logits":
            logits = [self.model.class_logits(p.captions, self.classes) for p in output.earlier]
            return torch.cat(logits)[:, ::10]
        if name == "aux_masks":
            masks = [mask_logits(p.mask_embeddings[:, ::20], self.memory) for p in output.earlier]
            return torch.cat(masks)[..., ::step, ::step]
        raise NotCoveredError(name)

    @cached_property
    def claims(self) -> Tensor:
        """Semantic claims of the whole pipeline at another size, 150x200."""
        size = replace(self.preprocessed.sizes[0], original=(150, 200))
        return semantic(self._seg_array("pred_logits"), self._whole("seg.pred_masks"), size=size)

    def _evaluate_array(self, name: str) -> Tensor:
        if name == "sem_seg":
            return self.claims[:, ::6, ::8]
        if name == "sem_seg.argmax_bincount":
            return torch.bincount(label_map(self.claims).flatten(), minlength=len(self.claims))
        raise NotCoveredError(name)

    def _prompt_array(self, name: str, what: str) -> Tensor:
        answer, step = self.answer(name), self.strides.mask
        if what == "similarity":
            return answer.choice.similarity.nan_to_num(neginf=STRANGER)
        if what in ("winner", "margin"):
            return getattr(answer.choice, what)
        if what == "mask":
            return answer.mask_logits[:, ::step, ::step]
        if what == "area":
            size = self.preprocessed.sizes[0]
            large = F.interpolate(answer.mask_logits[None], size.padded, mode="bilinear")[0]
            return (size.crop(large) > 0).sum((1, 2))
        if what == "class":
            return self.model.class_logits(answer.captions, self.classes).argmax(-1)
        marks = self.prompts[name].spatial or self.prompts[name].visual
        if marks and what in ("pspatial", "nspatial", "tokens.0", "tokens.1", "tokens.2"):
            return self._marks_array(name, what, marks)
        return self._queries_array(name, what)

    def _shaky(self, first: str) -> Tensor:
        """Rows of a prompt's queries with a mask logit, in any layer, that rounding may flip."""
        output = self.seg if first == "seg" else self.outputs[first]
        nearest = []
        for layer, before in enumerate(output.earlier):
            small = self.memory.level_mask_features[layer % len(self.memory.levels)]
            logits = (before.mask_embeddings @ small)[0]
            nearest.append(logits.abs().amin(1) / logits.abs().max())
        shaky = torch.stack(nearest).amin(0) < ROUNDING
        return shaky if first == "seg" else shaky[self._span(first)]

    @torch.no_grad()
    def shaky_rows(self, name: str) -> np.ndarray | None:
        """Which rows of a decoder's array may have been moved by a flipped bit, if that is known.

        A bit of a query's cross-attention mask can flip if the logit behind it, in any layer, is
        so near zero that rounding decides its sign.
        """
        first, _, what = name.partition(".")
        thinned = (
            {"pred_logits": 1, "pred_masks": 10}
            if first == "seg"
            else {"pred_logits": 12, "masks": 12, "maskemb": 12, "similarity": 1, "mask": 1}
        )
        if what not in thinned:
            return None
        shaky = self._shaky(first)
        if what == "mask":
            return shaky[self.answers[first].choice.winner].numpy()
        return shaky[:: thinned[what] if len(shaky) > 20 else 1].numpy()

    def _span(self, name: str) -> slice:
        """Where the queries that answer a prompt lie."""
        grouping = self.model.decoder.grouping
        text = self.chosen_by(name, self.prompts[name]) in ("text", "audio")
        group = grouping.text_queries if text else grouping.spatial_queries
        return self.outputs[name].spans[group]

    def _marks_array(self, name: str, what: str, marks: SpatialTokens) -> Tensor:
        """What was read under a drawn prompt."""
        if what == "pspatial":
            return marks.positive_mean
        if what == "nspatial":
            return self._negative_means(marks)[:, ::8]
        every = 9 if name == "posneg" else 2
        return marks.tokens[int(what[-1]), ::every, ::4]

    def _queries_array(self, name: str, what: str) -> Tensor:
        """What all queries of the group that answers a prompt say."""
        output = self.outputs[name]
        mine = output.predictions.at(self._span(name))
        thin = slice(None) if mine.captions.shape[1] <= 20 else slice(None, None, 12)
        if what == "masks":
            rows, columns = (32, 32) if self.sam else (7, 8)
            masks = mask_logits(mine.mask_embeddings[:, thin], self.memory)
            return masks[0, :, ::rows, ::columns]
        if what == "maskemb":
            return mine.mask_embeddings[0, thin, ::8]
        if what == "pred_logits":
            return self.model.class_logits(mine.captions, self.classes)[0, ::12]
        if what == "object_mask_change":
            same = self.seg.predictions.mask_embeddings
            now = output.predictions.mask_embeddings[:, : same.shape[1]]
            difference = mask_logits(now, self.memory) - mask_logits(same, self.memory)
            # A row whose mask has a logit at zero may flip it in one of the two passes.
            firm = ~self._shaky("seg")
            return difference[0, firm].abs().max()[None]
        raise NotCoveredError(f"{name}.{what}")

    def _negative_means(self, marks: SpatialTokens) -> Tensor:
        """Official v1 code says -1 where there is no negative pixel, ours 0 as v0 and the demo."""
        means = marks.negative_mean
        if self.grouping != "v1":
            return means
        return means.masked_fill((means == 0).all(1, keepdim=True), NO_NEGATIVE)


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.numpy() if isinstance(values, Tensor) else values
