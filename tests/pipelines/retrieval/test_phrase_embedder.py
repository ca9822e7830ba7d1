"""The embedded embedder, as it ships: it tells stickers apart, and refuses the rest."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from grounding.errors import PromptError
from grounding.geometry import normalized_to_pixels
from grounding.recording import Recording
from grounding.stickers.scene import render
from grounding.stickers.world import PRESETS
from pipelines.retrieval import phrase_embedder
from pipelines.retrieval.classifier import Classifier
from pipelines.retrieval.embedders import open_embedder

WORLD = replace(PRESETS["small"], counts=(1.0,))


@pytest.fixture(scope="module")
def embedder():
    return open_embedder(device="cpu")


def test_most_single_stickers_are_named_rightly(embedder):
    classifier = Classifier(embedder=embedder)
    right = []
    for seed in range(12):
        [sticker] = (scene := WORLD.scene(seed, "held-out")).stickers
        picture = Image.fromarray(render(scene).image)
        box = [round(value) for value in normalized_to_pixels(sticker.box, picture.size)]
        chances = classifier.probabilities([picture.crop(tuple(box))], WORLD.concepts)[0]
        right.append(WORLD.concepts[int(chances.argmax())] == sticker.concept)
    assert np.mean(right) > 0.7


def test_vectors_have_length_one_and_depend_on_nothing_else(embedder):
    picture = Image.fromarray(render(WORLD.scene(0)).image)
    both = embedder.embed(["lava llama", picture])
    assert torch.allclose(both.norm(dim=-1), torch.ones(2))
    assert torch.equal(both[1], embedder.embed([picture])[0])
    assert len(embedder.fingerprint) == 64


def test_what_it_cannot_read_is_refused(embedder, monkeypatch):
    sound = Recording(samples=np.zeros(8, np.float32), rate=8000)
    for item, problem in (
        (sound, "embedded reads image, text, not audio"),
        (" ", "at least one word"),
        ("llama " * 99, "it does not see"),
    ):
        with pytest.raises(PromptError, match=problem):
            embedder.embed([item])
    monkeypatch.setattr(phrase_embedder, "find_phrase_encoder", lambda *_, **__: None)
    with pytest.raises(ValueError, match="name a CLIP with --model"):
        open_embedder(device="cpu")
