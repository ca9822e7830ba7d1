import json

import pytest
import torch
from safetensors.torch import save_file

from grounding.errors import CheckpointError, OutputError
from weights.tensor_file import TensorFile, write_safetensors


def test_shapes_before_tensors(tmp_path):
    save_file({"a": torch.ones(2, 3), "b": torch.tensor(0.5).half()}, tmp_path / "x.safetensors")
    file = TensorFile(tmp_path / "x.safetensors")
    assert file.shapes == {"a": (2, 3), "b": ()}
    assert file["b"].dtype == torch.float16
    assert list(file.read(["b"])) == ["b"]


def test_parts_of_a_pickle_get_their_name(tmp_path):
    part = {"w": torch.ones(1)}
    torch.save({"model": part, "opt": {"state": {0: part}}, "iters": 3}, tmp_path / "x.pth")
    file = TensorFile(tmp_path / "x.pth")
    assert file.shapes == {"model.w": (1,)}
    assert file.extra["iters"] == 3


def test_lightning_wrapping_is_taken_off(tmp_path):
    torch.save({"state_dict": {"a.w": torch.ones(1)}, "epoch": 1}, tmp_path / "x.ckpt")
    assert TensorFile(tmp_path / "x.ckpt").shapes == {"a.w": (1,)}


def test_nested_state_dicts_are_named_by_their_place(tmp_path):
    part, other = {"w": torch.ones(1)}, {"w": torch.ones(2)}
    content = {"net": {"state_dict": part, "inner": other, "steps": 3}, "state_dict": {"a": other}}
    torch.save(content, tmp_path / "x.pth")
    file = TensorFile(tmp_path / "x.pth")
    assert file.shapes == {"net.w": (1,), "net.inner.w": (2,), "a.w": (2,)}
    assert file.extra == {"net.steps": 3}


def test_names_of_wrappers_are_taken_off(tmp_path):
    names = ["module._orig_mod.a.w", "module.b._orig_mod.w", "module.module.w"]
    save_file({name: torch.ones(1) for name in names}, tmp_path / "x.safetensors")
    torch.save({"model": {name: torch.ones(1) for name in names}}, tmp_path / "x.pth")
    file = TensorFile(tmp_path / "x.safetensors")
    assert set(file.shapes) == {"a.w", "b.w", "module.w"}
    assert file["b.w"].item() == 1
    assert set(TensorFile(tmp_path / "x.pth").shapes) == {
        "model.a.w",
        "model.b.w",
        "model.module.w",
    }
    save_file({"module.w": torch.ones(1), "other": torch.ones(1)}, tmp_path / "y.safetensors")
    assert set(TensorFile(tmp_path / "y.safetensors").shapes) == {"module.w", "other"}


def test_one_parameter_by_two_names_is_refused(tmp_path):
    save_file({"a._orig_mod.w": torch.ones(1), "a.w": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="a.w are the same parameter: keep one"):
        TensorFile(tmp_path / "x.safetensors")
    torch.save({"a.w": torch.ones(1), "a": {"w": torch.ones(1)}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="two parameters are called a.w"):
        TensorFile(tmp_path / "x.pth")


def test_shards_are_one_file(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(1)}, tmp_path / "two.safetensors")
    index = tmp_path / "m.safetensors.index.json"
    weight_map = {"a": "one.safetensors", "b": "two.safetensors"}
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert TensorFile(index)["b"].item() == 0
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="not an index"):
        TensorFile(index)
    index.write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(CheckpointError, match="gone.safetensors: no such file"):
        TensorFile(index)


def test_a_truncated_safetensors_file_is_one_line(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_file({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="not a complete safetensors file") as caught:
        TensorFile(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "what"), [("x.txt", "got .txt"), ("x", "got no suffix")])
def test_other_files_are_refused(tmp_path, name, what):
    (tmp_path / name).write_text("hello")
    with pytest.raises(CheckpointError, match=what):
        TensorFile(tmp_path / name)


def test_a_pickled_list_is_refused(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="expected a dict of tensors, got list"):
        TensorFile(tmp_path / "x.bin")


def test_views_and_shared_storage_are_written_whole(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    state = {"t": whole.t(), "row": whole[0], "again": whole, "scalar": torch.tensor(2.0)}
    read = TensorFile(write_safetensors(state, tmp_path / "x.safetensors")).read()
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_nothing_is_left_half_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_safetensors({"a": torch.ones(1)}, tmp_path / "file" / "x.safetensors")


def test_others_may_read_a_file_as_any_new_file(tmp_path):
    """safetensors puts a file of mode 0600 in the place of the one that it is given."""
    (tmp_path / "own").write_bytes(b"")
    path = write_safetensors({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    assert path.stat().st_mode == (tmp_path / "own").stat().st_mode
