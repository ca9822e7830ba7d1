"""The task: the same loss for the same seed, finite, and one that steps make smaller."""

import cv2
import pytest
import torch

from seem.model import build_seem
from seem.train import prompt_task
from seem.train.prompt_task import PromptTask
from tests.seem.tiny import REFINED
from tests.seem.train.segments import SEGMENTS, Plates

SIZE = 64
FROZEN = ("backbone", "text_encoder")


def task(**options) -> PromptTask:
    torch.manual_seed(0)
    model = build_seem(REFINED).train()
    for part in FROZEN:
        model.get_submodule(part).requires_grad_(False)
    options = {"batch": 2, "prompts": 2, "bfloat16": False, **options}
    return PromptTask(model=model, scenes=Plates(), held_out=Plates(), size=SIZE, **options)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["first", "corrected", "shown elsewhere"])
def asked(request, monkeypatch) -> str:
    """What a step asks: a first prompt, after two corrections, or by a reference."""
    monkeypatch.setattr(prompt_task, "ROUNDS", (2,) if request.param == "corrected" else (0,))
    monkeypatch.setattr(prompt_task, "REFERENCES", float(request.param == "shown elsewhere"))
    return request.param


def test_the_same_seed_has_the_same_loss_and_gradients(asked: str) -> None:
    results = []
    for seed in (1, 1, 2):
        one = task()
        loss, numbers = one.loss(seeded(seed), 0)
        loss.backward()
        results.append((loss.item(), numbers, one))
    (first, numbers, one), (again, others, _), (different, _, _) = results
    assert first == again != different
    assert numbers == others
    assert all(torch.tensor(list(numbers.values())).isfinite())
    assert set(numbers) == {"iou", "best", "mask", "layers", "quality"}
    assert 0 <= numbers["iou"] <= numbers["best"] <= 1
    for name, parameter in one.model.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), name
            assert not name.startswith(FROZEN)
    assert one.model.refiner is not None
    for part in (one.model.refiner, one.model.pixel_decoder, one.model.decoder):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())


def test_a_reference_teaches_the_looks_of_another_view(monkeypatch) -> None:
    monkeypatch.setattr(prompt_task, "REFERENCES", 1.0)
    shown = []
    one = task()
    elsewhere = one._looks_elsewhere

    def spy(looks, memory, reference):
        found = elsewhere(looks, memory, reference)
        shown.append((looks, found))
        return found

    monkeypatch.setattr(one, "_looks_elsewhere", spy)
    for seed in range(6):  # some views do not show all that is asked about
        one.loss(seeded(seed), 0)
    assert shown
    for looks, found in shown:
        for before, after in zip(looks, found, strict=True):
            assert before.shape == after.shape
            assert not torch.equal(before[:2], after[:2])  # the first picture's
            assert torch.equal(before[2:], after[2:])


def test_steps_lower_the_loss_of_what_they_learn() -> None:
    one = task()
    parameters = [p for p in one.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3)
    losses = []
    for _ in range(7):
        loss, _ = one.loss(seeded(5), 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(torch.tensor(losses).isfinite())
    assert losses[-1] < 0.9 * losses[0]


def test_bfloat16_learns_in_float32() -> None:
    one = task(bfloat16=True)
    loss, _ = one.loss(seeded(1), 0)
    loss.backward()
    exact, _ = task().loss(seeded(1), 0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.1)
    grads = [p.grad for p in one.model.parameters() if p.grad is not None]
    assert grads
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads)


def test_a_sample_is_a_sheet_and_a_number_and_changes_nothing(tmp_path) -> None:
    one = task()
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    first = one.sample(tmp_path / "a.png")
    again = one.sample(tmp_path / "b.png")
    assert first == again
    assert 0 <= first["iou"] <= 1
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert sheet.shape == (prompt_task.SHOWN * SIZE, one.batch * SIZE, 3)
    assert sheet.std() > 10
    assert one.model.training
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())


def test_pictures_without_segments_are_an_error(monkeypatch) -> None:
    one = task()
    image, pieces, _ = Plates().read(0)
    monkeypatch.setattr(Plates, "read", lambda self, number: (image, 0 * pieces, SEGMENTS))
    with pytest.raises(ValueError, match="hold nothing to ask about"):
        one.loss(seeded(0), 0)
