"""SEEM against the official code's numbers, on the golden files.

The small backbone is compared array by array in all three forms of the decoder; the larger models
are marked slow.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.parity.seem import judge, main
from tests.parity.seem_files import recognise

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {"seem_focalt_v0": 155, "seem_focalt_v1": 125, "seem_focalt_demo": 142}
LARGE = {
    "seem_davitd3_v1": 75,
    "seem_focall_v1": 75,
    "seem_focall_demo": 60,
    "seem_samvitb_v1": 44,
}


def check(name: str, least: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(GOLDEN / f"{name}.npz")]) == 0
    printed = capsys.readouterr().out
    last = printed.splitlines()[-1]
    assert int(last.split()[0]) >= least, last
    assert ", 0 failed, 0 skipped" in last


@pytest.mark.parametrize("name", SMALL)
def test_the_small_backbone_equals_the_official_numbers(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check(name, SMALL[name], capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_larger_models_equal_the_official_numbers(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check(name, LARGE[name], capsys)


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_files_are_recognised_by_their_arrays(name: str) -> None:
    config, grouping = recognise(dict(np.load(GOLDEN / f"{name}.npz")))
    assert f"seem_{config}_{grouping}" == name


def test_a_wrong_array_is_noticed() -> None:
    golden = dict(np.load(GOLDEN / "seem_focalt_v0.npz"))
    masks = golden["seg.pred_masks"]
    assert judge("seg.pred_masks", masks, masks, golden) == (0.0, True)
    assert not judge("seg.pred_masks", masks + 0.001 * np.abs(masks).max(), masks, golden)[1]
    assert not judge("seg.pred_masks", masks[1:], masks, golden)[1]
    one_row = masks.copy()
    one_row[3] += 0.001 * np.abs(masks).max()
    shaky = np.arange(len(masks)) == 3
    assert not judge("seg.pred_masks", one_row, masks, golden)[1]
    assert judge("seg.pred_masks", one_row, masks, golden, shaky)[1]
    assert not judge("seg.pred_masks", one_row, masks, golden, np.roll(shaky, 1))[1]
    winner = (golden["point.winner"] + 1) % 101
    assert not judge("point.winner", winner, golden["point.winner"], golden)[1]
    assert not judge("image.crc32", np.array([1]), golden["image.crc32"], golden)[1]


def test_files_that_are_no_golden_numbers_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_text("nothing")
    assert main([str(broken)]) == 2
    assert "cannot read golden numbers" in capsys.readouterr().err
