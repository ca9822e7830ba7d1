"""The golden numbers of the official code, by the command that compares whole files."""

from pathlib import Path

import numpy as np
import pytest

from tests.parity.gligen import main

GOLDEN = Path(__file__).parents[1] / "golden" / "gligen.npz"


def compare(tmp_path, capsys, wanted, edit=None):
    arrays = {name: array for name, array in np.load(GOLDEN).items() if wanted(name)}
    for name in arrays:
        arrays[name] = arrays[name] if edit is None else edit(arrays[name])
    np.savez(tmp_path / "some.npz", **arrays)
    code = main([str(tmp_path / "some.npz")])
    return code, capsys.readouterr().out.splitlines()


def test_text_model_computes_the_official_numbers(tmp_path, capsys):
    code, lines = compare(tmp_path, capsys, lambda name: name.startswith(("fourier", "text/")))
    assert code == 0, lines
    assert lines[-1] == "7 compared, 0 failed, 0 skipped"


def test_linear_decay_samples_the_official_latents(tmp_path, capsys):
    code, lines = compare(tmp_path, capsys, lambda name: name == "sample/plms_0.25_0.25_0.5")
    assert code == 0, lines


@pytest.mark.slow
def test_every_golden_sample(tmp_path, capsys):
    code, lines = compare(tmp_path, capsys, lambda name: name.startswith("sample/"))
    assert code == 0, lines
    assert lines[-1] == "6 compared, 0 failed, 0 skipped"


def test_wrong_numbers_fail(tmp_path, capsys):
    code, lines = compare(tmp_path, capsys, lambda name: name == "fourier", lambda a: a + 1e-3)
    assert code == 1
    assert "FAIL" in lines[0]


def test_what_is_not_computed_yet_is_said(tmp_path, capsys):
    code, lines = compare(tmp_path, capsys, lambda name: name in ("fourier", "hed/tokens"))
    assert code == 0
    assert any("hed/tokens" in line and "not covered yet" in line for line in lines)


def test_a_file_that_is_none_is_one_line(tmp_path, capsys):
    (tmp_path / "bad.npz").write_bytes(b"")
    for path in ("bad.npz", "absent.npz"):
        assert main([str(tmp_path / path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
