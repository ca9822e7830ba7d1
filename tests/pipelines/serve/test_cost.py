"""What an answer is said to take is what it takes."""

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipelines.serve.answers import found_text, instance_segments, panoptic_segments
from pipelines.serve.cost import Task, peak_bytes
from seem.predictor import Predictor
from tests.seem.predicting import picture, tiny_predictor

HEIGHT, WIDTH = 500, 700
NAMES = [f"class {i}" for i in range(40)]


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, and their most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._holders: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for part in tree_leaves(made):
            if isinstance(part, Tensor):
                self._hold(part)
        return made

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        self._holders[key] += 1
        if self._holders[key] == 1:
            self.now += size
            self.most = max(self.most, self.now)
        weakref.finalize(tensor, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            self.now -= size


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    made = tiny_predictor()
    made.set_image(picture(0, HEIGHT, WIDTH))
    made.predict(text="llama")
    made.words.classes(NAMES)
    return made


def panoptic(it: Predictor) -> None:
    panoptic_segments(it.panoptic(NAMES, object_threshold=0.0), NAMES, "rle")


def instances(it: Predictor) -> None:
    instance_segments(it.instances(NAMES), NAMES, 2.0, "rle")


def semantic(it: Predictor) -> None:
    torch.unique(it.semantic(NAMES))


def find(it: Predictor) -> None:
    found_text(it.find(["llama"], threshold=0.0, overlap=1.0)[0], "rle")


TASKS: dict[Task, Callable[[Predictor], None]] = {
    "panoptic": panoptic,
    "instances": instances,
    "semantic": semantic,
    "find": find,
}


@pytest.mark.parametrize("task", TASKS)
def test_the_estimate_is_what_it_takes(predictor: Predictor, task: Task) -> None:
    queries = len(predictor.model.decoder.query_feat.weight)
    said = peak_bytes(task, HEIGHT * WIDTH, queries=queries, count=len(NAMES))
    with Peak() as peak:
        TASKS[task](predictor)
    assert peak.most <= 1.05 * said
    assert peak.most >= 0.25 * said
