"""Detectors of transformers: tiny random ones of both kinds, and what is none."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    CLIPTextConfig,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessor,
    OwlViTProcessor,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

from gligen.evaluation.transformers_detector import load_detector
from grounding.errors import CheckpointError, LavallamaError
from grounding.stickers.tokenizer import MAX_TOKENS, build_tokenizer

CPU = torch.device("cpu")
PICTURE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A YOLOS of two classes."""
    folder = tmp_path_factory.mktemp("closed")
    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 32],
        num_detection_tokens=6,
        id2label={0: "Dog", 1: "sofa"},
        label2id={"Dog": 0, "sofa": 1},
    )
    YolosForObjectDetection(config).save_pretrained(folder)
    size = {"shortest_edge": 32, "longest_edge": 64}
    YolosImageProcessor(size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def wordy(tmp_path_factory):
    """An OWL-ViT that reads the sticker world's words."""
    folder = tmp_path_factory.mktemp("wordy")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small["num_attention_heads"] = 2
    config = OwlViTConfig(
        text_config=small
        | {"vocab_size": len(tokenizer), "max_position_embeddings": MAX_TOKENS}
        | {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id},
        vision_config=small | {"image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    model = OwlViTForObjectDetection(config)
    nn.init.zeros_(model.box_head.dense2.weight)  # boxes as wide as patches, none without a size
    model.save_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    images = OwlViTImageProcessor(size={"height": 32, "width": 32})
    OwlViTProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def inside(found):
    return all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in (d.box for d in found))


def test_a_detector_with_classes_finds_those_alone(closed):
    detector = load_detector(str(closed), device=CPU)
    assert (detector.threshold, detector.tells_attributes) == (0.5, False)
    assert detector.knows("dog")
    assert detector.knows("couch"), "COCO's name"
    assert not detector.knows("llama")
    view = detector.view(PICTURE)
    both = view.find(["dog", "couch", "llama"])
    assert {d.text for d in both} <= {"dog", "couch"}
    assert both
    assert inside(both)
    assert [d for d in both if d.text == "couch"] == view.find(["couch"])
    assert view.find(["llama"]) == []
    assert view.attribute((0, 0, 1, 1), "dog", ("ice",)) is None


def test_a_detector_that_takes_words_finds_any(wordy):
    detector = load_detector(str(wordy), device=CPU, threshold=0.3)
    assert (detector.threshold, detector.tells_attributes) == (0.3, True)
    assert detector.knows("lava llama")
    view = detector.view(PICTURE)
    [one, two] = [view.find([text]) for text in ("llama", "lava llama")]
    assert {d.text for d in one} == {"llama"}
    assert {d.text for d in two} == {"lava llama"}
    assert inside(one)
    assert {d.text for d in view.find(["llama", "dog"])} <= {"llama", "dog"}
    assert view.find([]) == []
    assert view.find(["llama"]) == one, "asked again, it answers the same"


def test_what_is_no_detector_is_one_line(tmp_path):
    with pytest.raises(LavallamaError) as caught:
        load_detector(str(tmp_path), device=CPU)
    assert "cannot be read as a detector" in str(caught.value)
    CLIPTextConfig().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="expected an object detector of transformers"):
        load_detector(str(tmp_path), device=CPU)


def test_a_detector_without_its_weights_is_one_line(closed, tmp_path):
    (tmp_path / "config.json").write_text((closed / "config.json").read_text())
    with pytest.raises(CheckpointError) as caught:
        load_detector(str(tmp_path), device=CPU)
    assert "\n" not in str(caught.value)


def test_a_name_that_cannot_be_had_offline_is_one_line():
    with pytest.raises(LavallamaError, match="no such folder") as caught:
        load_detector("nobody/no-such-detector", device=CPU, offline=True)
    assert "\n" not in str(caught.value)
