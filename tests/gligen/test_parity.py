"""The golden numbers of the official code, by the command that compares whole files."""

from pathlib import Path

import numpy as np
import pytest

from tests.parity.gligen import main
from tests.parity.gligen_model import VARIANTS

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
    assert lines[-1] == "7 compared, 0 failed"


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "text"])
def test_every_tokenizer_computes_the_official_tokens(tmp_path, capsys, variant):
    names = (f"{variant}/tokens", f"{variant}/null_tokens")
    code, lines = compare(tmp_path, capsys, lambda name: name in names)
    assert code == 0, lines
    assert lines[-1] == "2 compared, 0 failed"


@pytest.mark.parametrize("variant", ["text_image_inpaint", "keypoint"])
def test_other_boxes_and_points_compute_the_official_numbers(tmp_path, capsys, variant):
    code, lines = compare(tmp_path, capsys, lambda name: name == f"{variant}/eps_scale1.0")
    assert code == 0, lines


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_variant_computes_the_official_numbers(tmp_path, capsys, variant):
    code, lines = compare(tmp_path, capsys, lambda name: name.startswith(f"{variant}/"))
    assert code == 0, lines


def test_linear_decay_samples_the_official_latents(tmp_path, capsys):
    code, lines = compare(tmp_path, capsys, lambda name: name == "sample/plms_0.25_0.25_0.5")
    assert code == 0, lines


@pytest.mark.slow
def test_every_golden_sample(tmp_path, capsys):
    code, lines = compare(tmp_path, capsys, lambda name: name.startswith("sample/"))
    assert code == 0, lines
    assert lines[-1] == "6 compared, 0 failed"


def test_wrong_numbers_fail(tmp_path, capsys):
    code, lines = compare(tmp_path, capsys, lambda name: name == "fourier", lambda a: a + 1e-3)
    assert code == 1
    assert "FAIL" in lines[0]


def test_an_array_that_nobody_computes_is_a_failure(tmp_path, capsys):
    np.savez(tmp_path / "some.npz", **{"hed/surprise": np.ones(3)})
    assert main([str(tmp_path / "some.npz")]) == 1
    assert "no such array is known" in capsys.readouterr().out


def test_a_file_that_is_none_is_one_line(tmp_path, capsys):
    (tmp_path / "bad.npz").write_bytes(b"")
    for path in ("bad.npz", "absent.npz"):
        assert main([str(tmp_path / path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
