"""The rehearsals of public checkpoints, with tiny models."""

import pytest

from tests.rehearsal.__main__ import REHEARSALS, rehearse


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", list(REHEARSALS))
def test_every_layout_gives_the_same(name, tmp_path, capsys):
    if name == "llava":
        pytest.importorskip("sentencepiece")
        pytest.importorskip("google.protobuf")
    rows = rehearse(name, tmp_path, tiny=True, apart=False)
    assert len(rows) > 1
    assert len({row["result"] for row in rows}) == 1, rows
    assert capsys.readouterr().out.count("|\n") == len(rows) + 2
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
