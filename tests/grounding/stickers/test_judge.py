"""The judge sees what a box holds, and its files come back as they were."""

import numpy as np
import pytest
import torch

from grounding.errors import CheckpointError
from grounding.stickers.judge import CROP, StickerJudge, crop


def test_crop_cuts_the_box_and_nothing_else():
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:60, 50:150] = (10, 200, 30)
    cut = crop(image, (0.25, 0.2, 0.75, 0.6))
    assert cut.shape == (CROP, CROP, 3)
    assert (cut == (10, 200, 30)).all()


def test_crop_of_a_box_that_leaves_the_picture():
    cut = crop(np.full((64, 64, 3), 7, np.uint8), (-0.2, -0.1, 0.5, 1.3))
    assert (cut == 7).all()


def test_saved_and_loaded_judge_gives_the_same_scores(tmp_path):
    torch.manual_seed(0)
    judge = StickerJudge(["llama", "fox"], ["lava"]).half().float()
    judge.save_pretrained(tmp_path)
    again = StickerJudge.from_pretrained(tmp_path)
    crops = torch.randn(2, 3, CROP, CROP)
    assert again.materials == ("plain", "lava")
    for ours, theirs in zip(judge(crops), again(crops), strict=True):
        assert torch.equal(ours, theirs)


def test_a_folder_without_a_judge_says_how_to_get_one(tmp_path):
    with pytest.raises(CheckpointError, match="pipelines.train judge"):
        StickerJudge.from_pretrained(tmp_path)
