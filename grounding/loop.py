"""One training loop for every model: seeded by step, logged, sampled from, resumable.

A step's data and noise come from a generator seeded by (seed, step, process) alone, and everything
that changes is in the checkpoint; so a run that is killed and resumed ends with the same bits as
one that never was. The loop runs on accelerate: `accelerate launch` gives it processes, devices
and precision (processes on CPUs alone: ``ACCELERATE_USE_CPU=1 torchrun --nproc-per-node 2``). Each
process draws a batch of its own; their gradients are averaged.
"""

import contextlib
import dataclasses
import json
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.utils.deterministic
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

log = logging.getLogger(__name__)

PROCESS_STRIDE = 1_000_000_007  # between the seeds of two processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how fast.

    Attributes:
        steps: Optimiser steps in all.
        learning_rate: Peak of the schedule: linear warm-up, then cosine to a twentieth.
        warmup: Steps of warm-up.
        weight_decay: AdamW's.
        betas: AdamW's.
        clip: Largest gradient norm.
        ema: Decay of the weights' moving average; 0 keeps none.
        seed: Of the data and noise of every step.
        save_every: Steps between checkpoints.
        sample_every: Steps between sample grids.
    """

    steps: int
    learning_rate: float
    warmup: int = 200
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    save_every: int = 500
    sample_every: int = 500


class Task(Protocol):
    """What is trained: the loop asks it for a loss and, now and then, for pictures."""

    def trained(self) -> nn.Module:
        """The module whose parameters that require gradients are trained."""
        ...

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step, and numbers worth logging."""
        ...

    def sample(self, path: Path) -> None:
        """Draw a grid that shows how far the training is."""
        ...


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then cosine decay to a twentieth of the peak."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    share = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


def train(
    task: Task, config: LoopConfig, folder: Path, accelerator: Accelerator | None = None
) -> dict[str, Tensor]:
    """Train to the last step, going on from the folder's checkpoint if there is one.

    Args:
        task: What to train; its tensors lie on the accelerator's device already.
        config: How.
        folder: Keeps ``checkpoint.pt``, ``log.jsonl`` and ``samples/``.
        accelerator: Processes and precision; None: as `accelerate launch` says, else this process
            alone.

    Returns:
        The trained tensors by name: the moving average if one is kept.
    """
    with _sums_in_one_order():
        return _train(task, config, folder, accelerator or Accelerator())


@contextlib.contextmanager
def _sums_in_one_order() -> Iterator[None]:
    """Threads that race for a sum would change last bits from run to run.

    On a GPU a few backward passes know no order; there PyTorch says so once and goes on.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        settings.fill_uninitialized_memory = filled


def _train(
    task: Task, config: LoopConfig, folder: Path, accelerator: Accelerator
) -> dict[str, Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    module = task.trained()
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
    average = {n: p.detach().clone() for n, p in parameters.items()} if config.ema else {}
    optimizer = accelerator.prepare(_optimizer(parameters, config))
    start = _resume(folder, parameters, average, optimizer)
    main = accelerator.is_main_process
    bar = tqdm(
        range(start, config.steps),
        initial=start,
        total=config.steps,
        disable=None if main else True,
    )
    began, seen = time.monotonic(), start
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        seed = config.seed * 1_000_003 + step + PROCESS_STRIDE * accelerator.process_index
        with accelerator.autocast():
            loss, numbers = task.loss(torch.Generator().manual_seed(seed), step)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        _average_gradients(accelerator, parameters)
        norm = nn.utils.clip_grad_norm_(list(parameters.values()), config.clip)
        optimizer.step()
        _update_average(average, parameters, min(config.ema, (1 + step) / (10 + step)))
        done = step + 1
        if main and (done % 50 == 0 or done == config.steps):
            rate = (done - seen) / (time.monotonic() - began)
            began, seen = time.monotonic(), done
            line = {"step": done, "loss": loss.item(), "grad_norm": norm.item()}
            line |= numbers | {"lr": learning_rate(step, config), "steps_per_second": rate}
            with (folder / "log.jsonl").open("a", encoding="utf-8") as out:
                out.write(json.dumps({k: round(v, 6) for k, v in line.items()}) + "\n")
            bar.set_postfix(loss=f"{loss.item():.4f}")
        if main and (done % config.save_every == 0 or done == config.steps):
            _save(folder, done, parameters, average, optimizer)
        if main and (done % config.sample_every == 0 or done == config.steps):
            _sample(task, folder, done, parameters, average)
    accelerator.wait_for_everyone()
    return average or {n: p.detach() for n, p in parameters.items()}


def _optimizer(parameters: dict[str, nn.Parameter], config: LoopConfig) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, norms) do not decay."""
    decayed = [p for p in parameters.values() if p.ndim >= 2]
    plain = [p for p in parameters.values() if p.ndim < 2]
    return torch.optim.AdamW(
        [{"params": decayed}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
        weight_decay=config.weight_decay,
    )


def _average_gradients(accelerator: Accelerator, parameters: dict[str, nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients."""
    if accelerator.num_processes == 1:
        return
    for parameter in parameters.values():
        if parameter.grad is None:  # another process may have one
            parameter.grad = torch.zeros_like(parameter)
        mean = accelerator.reduce(parameter.grad, "mean")
        assert isinstance(mean, Tensor), "the mean of tensors is one"
        parameter.grad.copy_(mean)


@torch.no_grad()
def _update_average(
    average: dict[str, Tensor], parameters: dict[str, nn.Parameter], decay: float
) -> None:
    for name, value in average.items():
        value.lerp_(parameters[name], 1 - decay)


def _sample(
    task: Task,
    folder: Path,
    step: int,
    parameters: dict[str, nn.Parameter],
    average: dict[str, Tensor],
) -> None:
    """Sample with the averaged weights in place, then put the trained ones back."""
    (folder / "samples").mkdir(exist_ok=True)
    current = {n: parameters[n].detach().clone() for n in average}
    with torch.no_grad():
        for name, value in average.items():
            parameters[name].copy_(value)
        task.sample(folder / "samples" / f"{step:07d}.png")
        for name, value in current.items():
            parameters[name].copy_(value)


def _save(
    folder: Path,
    step: int,
    parameters: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    state = {
        "step": step,
        "parameters": {n: p.detach() for n, p in parameters.items()},
        "average": average,
        "optimizer": optimizer.state_dict(),
    }
    unfinished = folder / "checkpoint.pt.part"
    with unfinished.open("wb") as out:
        torch.save(state, out)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(folder / "checkpoint.pt")


def _resume(
    folder: Path,
    parameters: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> int:
    """Load the folder's checkpoint, if any; return the step to go on with."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state["parameters"][name])
        for name, value in average.items():
            value.copy_(state["average"][name])
    optimizer.load_state_dict(state["optimizer"])
    log.info("resumed %s at step %d", folder, state["step"])
    return state["step"]
