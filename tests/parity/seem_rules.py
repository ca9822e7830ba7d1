"""Arrays of SEEM's golden files that need no image: clicks, segments of made-up logits, texts.

Axes: h w pixels, N made-up queries, K classes.
"""

import numpy as np
import torch

from seem.clicks import Clicks, box_click, first_click, next_click
from seem.postprocess import instances, panoptic, semantic
from seem.vocabulary import mean_direction
from tests.parity import seem_inputs as inputs
from tests.parity.fill import noise
from tests.parity.seem_model import GoldenModel, NotCoveredError

POST_QUERIES, POST_CLASSES = 12, 6
POST_SIZE = (48, 60)
THINGS = (0, 1, 2)
DETECTIONS = 20
LOGIT = 4.0  # a previous prediction is +-4


def click_array(model: GoldenModel, name: str) -> np.ndarray:
    """An array click.*, from the official way of clicking."""
    size = model.preprocessed.sizes[0]
    if name == "box.pixels_yx":
        return np.argwhere(box_click(model.golden["click.box.xyxy"].tolist(), size.image))
    truth = model.bitmap("big").numpy()
    if name == "first.pixels_yx":
        return np.argwhere(first_click(truth).positive)
    kind, case, sign = name.split(".")
    if kind != "next" or sign not in ("positive_yx", "negative_yx"):
        raise NotCoveredError(name)
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    larger = ((y - 110) * 7) ** 2 + ((x - 140) * 5) ** 2 < 520**2
    inside = (y < size.image[0]) & (x < size.image[1])
    predictions = {
        "missing": truth & (x < 120),
        "extra": larger & inside,
        "good": np.roll(truth, 1, axis=1),
        "empty": np.zeros_like(truth),
    }
    before = Clicks(positive=model.bitmap("point").numpy(), negative=np.zeros_like(truth))
    after = next_click(truth, predictions[case], before)
    sign = sign.removesuffix("_yx")
    return np.argwhere(getattr(after, sign) & ~getattr(before, sign))


def post_array(tag: str, name: str) -> np.ndarray:
    """An array post.*, from logits that are made of names."""
    logits, masks = _post_logits(tag)
    if name == "in.masks":
        return masks[:, ::6, ::6].numpy()
    kind, _, rest = name.partition(".")
    if kind == "semantic":
        return semantic(logits, masks)[:, ::4, ::4].numpy()
    if kind == "instance":
        found = instances(logits, masks, things=THINGS, detections=DETECTIONS)
        parts = {
            "scores": found.scores,
            "classes": found.labels,
            "areas": found.masks.sum((1, 2)),
        }
        return parts[rest].numpy()
    if kind.startswith("panoptic_"):
        threshold, _, rest = name.removeprefix("panoptic_").partition(".segments")
        is_table = name.endswith(".segments")
        found = panoptic(logits, masks, things=THINGS, object_threshold=float(threshold))
        if is_table:
            return np.array([[s.id, s.label, s.is_thing] for s in found.segments], np.int64)
        return found.map.numpy()
    raise NotCoveredError(name)


def _post_logits(tag: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Class logits [12, 7] and mask logits [12, 48, 60]: discs on a grid."""
    queries = torch.arange(POST_QUERIES)
    logits = 3 * noise(tag + "post.cls", (POST_QUERIES, POST_CLASSES + 1))
    logits[:, POST_CLASSES] -= 2
    logits[queries, (5 * queries) % POST_CLASSES] += 5
    radius = 9 + 2 * noise(tag + "post.radius", (POST_QUERIES,))
    y, x = (torch.arange(side, dtype=torch.float32) for side in POST_SIZE)
    down = y[None, :, None] - (8 + 16 * (queries // 4))[:, None, None]
    right = x[None, None, :] - (7 + 15 * (queries % 4))[:, None, None]
    return logits, 4 * (1 - (down**2 + right**2) / radius[:, None, None] ** 2)


def text_array(model: GoldenModel, name: str) -> np.ndarray:
    """An array text.* that needs the text encoder alone."""
    texts = inputs.token_ids(model.tag)
    word, _, rest = name.partition(".")
    if rest == "ids":
        ids, mask = texts[word]
        return ids[mask]
    ids = torch.from_numpy(np.stack([texts[key][0] for key in texts]))
    mask = torch.from_numpy(np.stack([texts[key][1] for key in texts]))
    found = model.model.text_encoder(ids, mask)
    arrays = {
        "hidden": lambda: found.hidden[:, ::8, ::16],
        "token_emb": lambda: found.tokens[:, ::4, ::16],
        "class_emb": lambda: found.pooled,
        "class_emb_normalised": lambda: found.embeddings,
        "template_average": lambda: mean_direction(found.embeddings)[None],
        "grounding_tokens": lambda: model.text(("short",)).tokens,
    }
    return arrays[name]().numpy()
