"""The command, with an embedder that knows every crop of the scenes, and with one that guesses."""

import json
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from grounding.geometry import normalized_to_pixels
from grounding.stickers.scene import render
from grounding.stickers.world import PRESETS
from pipelines.evaluate import main
from pipelines.retrieval import embedders

WORLD = PRESETS["small"]


def vector(text):
    generator = np.random.default_rng(zlib.crc32(text.encode()))
    return torch.nn.functional.normalize(torch.from_numpy(generator.normal(size=64)).float(), dim=0)


class Knowing:
    """Pictures have the vectors of what they are known to show."""

    name, fingerprint, scale = "knowing", "k", 20.0
    modalities = frozenset({"text", "image"})

    def __init__(self, known):
        self.known = known

    def embed(self, items):
        return torch.stack([vector(self._said(item)) for item in items])

    def _said(self, item):
        return item if isinstance(item, str) else self.known.get(item.tobytes(), str(item.size))


def crops():
    known = {}
    for split in ("held-out", "held-out pairs"):
        for scene in (WORLD.scene(seed, split) for seed in range(2)):
            picture = Image.fromarray(render(scene).image)
            for sticker in scene.stickers:
                box = [round(value) for value in normalized_to_pixels(sticker.box, picture.size)]
                known[picture.crop(tuple(box)).tobytes()] = sticker.phrase
    return known


@pytest.mark.parametrize("knows", [True, False])
def test_crops_are_compared_with_all_phrases(knows, tmp_path, capsys, monkeypatch):
    made = Knowing(crops() if knows else {})
    monkeypatch.setattr(embedders, "open_embedder", lambda *_, **__: made)
    assert main(["zero-shot", "--scenes", "4", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    results = json.loads(printed.splitlines()[-1])
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == results
    assert printed.startswith((tmp_path / "out" / "report.md").read_text())
    found = results["crops"]["all"]
    assert found["objects"] == len(crops())
    assert results["phrases"] == len(WORLD.concepts) * (len(WORLD.materials) + 1)
    assert (found["phrase_top1"] == 1) == knows
    assert (found["object_top1"] == 1) == knows
