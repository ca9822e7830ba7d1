"""Arrays of SEEM's golden files that need the text encoder alone.

Axes: as in the files.
"""

import numpy as np
import torch

from seem.vocabulary import mean_direction
from tests.parity import seem_inputs as inputs
from tests.parity.seem_model import GoldenModel


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
        "template_average": lambda: mean_direction(model.model.text_encoder.embed(ids, mask))[None],
        "grounding_tokens": lambda: model.text(("short",)).tokens,
    }
    return arrays[name]().numpy()
