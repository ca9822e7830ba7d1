"""A few of the spoilt files of `python -m tests.mutations`: one line each, or all that is there."""

import pytest

from tests.mutations.files import KINDS
from tests.mutations.run import complaints

SEEDS = {"film": 2, "safetensors": 3, "png": 5, "jpeg": 5}


@pytest.mark.parametrize("kind", KINDS)
def test_spoilt_files_end_in_one_line_and_nothing_is_lost(kind, tmp_path):
    wrong = []
    for seed in range(SEEDS.get(kind, 6)):
        wrong += complaints(kind, seed, tmp_path / str(seed))
    assert not wrong, "\n".join(wrong)
