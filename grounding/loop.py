"""One training loop for every model: seeded by step, logged, sampled from, resumable.

A step's data and noise come from a generator seeded by (seed, step, process) alone, and everything
that changes is in the checkpoint; so a run that is killed and resumed ends with the same bits as
one that never was. The loop runs on accelerate: `accelerate launch` gives it processes, devices
and precision (processes on CPUs alone: ``ACCELERATE_USE_CPU=1 torchrun --nproc-per-node 2``). Each
process draws a batch of its own, or several one after the other; all gradients are averaged.
What is trained may be sharded (`grounding.sharding`): whole tensors are what is saved.
"""

import contextlib
import dataclasses
import logging
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.utils.deterministic
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from grounding.checkpoint import LAST, Checkpoints, check_fit
from grounding.errors import CheckpointError, OutputError
from grounding.sharding import gathered, holds_shares, is_share, like, take_shares, total_norm
from grounding.telemetry import JsonLines, Writer

log = logging.getLogger(__name__)

BUCKET = 8_000_000  # numbers in a message between processes
PROCESS_STRIDE = 1_000_000_007  # between the seeds of two processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how fast.

    Attributes:
        steps: Optimiser steps in all.
        learning_rate: Peak of the schedule: linear warm-up, then cosine to a twentieth.
        schedule: What follows the warm-up: "cosine", or "constant".
        warmup: Steps of warm-up.
        weight_decay: AdamW's.
        betas: AdamW's.
        clip: Largest gradient norm.
        ema: Decay of the weights' moving average; 0 keeps none.
        seed: Of the data and noise of every step.
        accumulate: Batches of a step, one after the other; their gradients are averaged.
        save_every: Steps between checkpoints.
        sample_every: Steps between sample grids.
        log_every: Steps between lines of the log.
        keep: Checkpoints that stay beside the last; 0: none.
        best: The number of ``Task.sample`` whose highest value makes the best checkpoint; "": none.
        rates: Multiples of the learning rate, by the beginning of the parameters' names; 1 for all
            others.
    """

    steps: int
    learning_rate: float
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = 200
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    accumulate: int = 1
    save_every: int = 500
    sample_every: int = 500
    log_every: int = 50
    keep: int = 0
    best: str = ""
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Task(Protocol):
    """What is trained: the loop asks it for a loss and, now and then, for pictures."""

    def trained(self) -> nn.Module:
        """The module whose parameters that require gradients are trained."""
        ...

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and numbers worth logging.

        Args:
            generator: Of this batch's data and noise.
            step: Counts batches: of a step that accumulates several, each has its own.
        """
        ...

    def sample(self, path: Path) -> Mapping[str, float] | None:
        """Draw a grid that shows how far the training is; what is measured on it, if anything."""
        ...


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then the peak, or cosine decay to a twentieth of it."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    share = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


def train(
    task: Task,
    config: LoopConfig,
    folder: Path,
    accelerator: Accelerator | None = None,
    writers: Sequence[Writer] = (),
) -> dict[str, Tensor]:
    """Train to the last step, going on from the folder's checkpoint if there is one.

    Args:
        task: What to train; its tensors lie on the accelerator's device already.
        config: How.
        folder: Keeps checkpoints (`grounding.checkpoint`), ``log.jsonl`` and ``samples/``.
        accelerator: Processes and precision; None: as `accelerate launch` says, else this process
            alone.
        writers: Where numbers and grids go beside the folder.

    Returns:
        The trained tensors by name: the moving average if one is kept.
    """
    with _sums_in_one_order():
        return _Run(task, config, folder, accelerator or Accelerator(), writers).train()


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


class _Run:
    """One run: what is trained, its average, its optimiser, and where all is kept."""

    def __init__(
        self,
        task: Task,
        config: LoopConfig,
        folder: Path,
        accelerator: Accelerator,
        writers: Sequence[Writer],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.task, self.config, self.folder, self.accelerator = task, config, folder, accelerator
        named = task.trained().named_parameters()
        self.parameters = {n: p for n, p in named if p.requires_grad}
        self.average = {n: p.detach().clone() for n, p in self.parameters.items() if config.ema}
        self.sharded = holds_shares(self.parameters)
        self.optimizer: Any = _optimizer(self.parameters, config)
        if not self.sharded:
            self.optimizer = accelerator.prepare(self.optimizer)
        self.checkpoints = Checkpoints(folder, config.keep)
        self.start = self._resume()
        self.writers: list[Writer] = []
        if accelerator.is_main_process:
            self.writers = [JsonLines(folder, self.start), *writers]

    def train(self) -> dict[str, Tensor]:
        """Take all steps that are left."""
        config, main = self.config, self.accelerator.is_main_process
        here = main or self.sharded  # what takes whole tensors takes every process
        if here and config.best and self.start == 0:
            self._sample(0)  # where it starts from
        steps = range(self.start, config.steps)
        began, seen = time.monotonic(), self.start
        bar = tqdm(steps, initial=self.start, total=config.steps, disable=None if main else True)
        for step in bar:
            numbers = self._step(step, logged=here and self._is_due(step, config.log_every))
            done = step + 1
            if numbers:
                rate = (done - seen) / (time.monotonic() - began)
                began, seen = time.monotonic(), done
                self._tell(done, numbers | {"steps_per_second": rate})
                bar.set_postfix(loss=f"{numbers['loss']:.4f}")
            if here and self._is_due(step, config.sample_every):
                self._sample(done)
            if here and self._is_due(step, config.save_every):
                self._save(done)
        self.accelerator.wait_for_everyone()
        for writer in self.writers:
            writer.close()
        return gathered(self.average or {n: p.detach() for n, p in self.parameters.items()})

    def _is_due(self, step: int, every: int) -> bool:
        return (step + 1) % every == 0 or step + 1 == self.config.steps

    def _step(self, step: int, *, logged: bool) -> dict[str, float]:
        """One step of the optimiser; its numbers if they are to be logged."""
        config = self.config
        rate = learning_rate(step, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("multiple", 1)
        self.optimizer.zero_grad(set_to_none=True)
        total, numbers = 0.0, {}
        for batch in range(step * config.accumulate, (step + 1) * config.accumulate):
            seed = config.seed * 1_000_003 + batch + PROCESS_STRIDE * self.accelerator.process_index
            with self.accelerator.autocast():
                loss, told = self.task.loss(torch.Generator().manual_seed(seed), batch)
            self.accelerator.backward(loss / config.accumulate)
            total, numbers = total + loss.detach() / config.accumulate, numbers | told
        _average_gradients(self.accelerator, self.parameters)
        norms = _gradient_norms(self.parameters) if logged else {}
        norm = _clip(self.parameters, config.clip)
        self.optimizer.step()
        _update_average(self.average, self.parameters, min(config.ema, (1 + step) / (10 + step)))
        if not logged:
            return {}
        assert isinstance(total, Tensor), "there is a batch in every step"
        return {"loss": total.item(), "grad_norm": norm.item(), **numbers, **norms, "lr": rate}

    def _tell(self, step: int, numbers: Mapping[str, float]) -> None:
        for writer in self.writers:
            writer.numbers(step, numbers)

    def _sample(self, step: int) -> None:
        """Sample with the averaged weights in place, then put the trained ones back."""
        current = {n: self.parameters[n].detach().clone() for n in self.average}
        with self._samples() as folder, torch.no_grad():
            path = folder / f"{step:07d}.png"
            for name, value in self.average.items():
                self.parameters[name].copy_(value)
            try:
                measured = self.task.sample(path)
            except OSError as error:  # the writing of a picture does not say which
                if error.filename is not None or not error.strerror:
                    raise
                raise OutputError(f"cannot write {path}: {error.strerror.lower()}") from None
            for name, value in current.items():
                self.parameters[name].copy_(value)
            for writer in self.writers:
                writer.picture(step, path)
        if measured:
            self._tell(step, measured)
            if self.config.best:
                state = self._state(step)
                if self.accelerator.is_main_process:
                    self.checkpoints.offer(state, measured[self.config.best])

    @contextlib.contextmanager
    def _samples(self) -> Iterator[Path]:
        """The folder of samples; for a process that only lends a hand, one that goes away."""
        if self.accelerator.is_main_process:
            folder = self.folder / "samples"
            folder.mkdir(exist_ok=True)
            yield folder
        else:
            with tempfile.TemporaryDirectory() as aside:
                yield Path(aside)

    def _save(self, step: int) -> None:
        state = self._state(step)
        if self.accelerator.is_main_process:
            self.checkpoints.save(state)

    def _state(self, step: int) -> dict[str, Any]:
        state = {
            "step": step,
            "parameters": {n: p.detach() for n, p in self.parameters.items()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        return gathered(state)

    def _resume(self) -> int:
        """Load the folder's checkpoint, if any; return the step to go on with."""
        state = self.checkpoints.read()
        if state is None:
            return 0
        path = self.folder / LAST
        check_fit(state["parameters"], self.parameters, path)
        check_fit(state["average"], self.average, path)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(like(state["parameters"][name], parameter))
            for name, value in self.average.items():
                value.copy_(like(state["average"][name], value))
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except ValueError as error:
            raise CheckpointError(
                f"{path}: its optimiser is of other options ({error}); go on with those that it "
                "was begun with, or name another folder with --runs"
            ) from None
        take_shares(self.optimizer)
        log.info("resumed %s at step %d", self.folder, state["step"])
        return state["step"]


def _optimizer(parameters: dict[str, nn.Parameter], config: LoopConfig) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, norms) do not decay."""
    groups: dict[float, list[nn.Parameter]] = {1: []}
    for name, parameter in parameters.items():
        fitting = [multiple for start, multiple in config.rates.items() if name.startswith(start)]
        groups.setdefault(fitting[0] if fitting else 1, []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": chosen, "weight_decay": decay, "multiple": multiple}
            for multiple, members in groups.items()
            for chosen, decay in (
                ([p for p in members if p.ndim >= 2], config.weight_decay),
                ([p for p in members if p.ndim < 2], 0.0),
            )
        ],
        lr=config.learning_rate,
        betas=config.betas,
        fused=not holds_shares(parameters),  # the fused one takes shares alone, or none
        foreach=False,
    )


def _average_gradients(accelerator: Accelerator, parameters: dict[str, nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients."""
    if accelerator.num_processes == 1:
        return
    whole = [p for p in parameters.values() if not is_share(p)]  # others: on the way back
    for parameter in whole:
        if parameter.grad is None:  # another process may have one
            parameter.grad = torch.zeros_like(parameter)
    for members in _buckets(whole):
        gradients = [p.grad for p in members if p.grad is not None]
        mean = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
        assert isinstance(mean, Tensor), "the mean of tensors is one"
        parts = mean.split([g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters that are sent together: few messages, and little memory for each."""
    members: list[nn.Parameter] = []
    for parameter in parameters:
        if members and sum(p.numel() for p in members) + parameter.numel() > BUCKET:
            yield members
            members = []
        members.append(parameter)
    if members:
        yield members


def _gradient_norms(parameters: dict[str, nn.Parameter]) -> dict[str, float]:
    """The gradient's norm in each part of the module, by the first word of the names; unclipped."""
    parts = defaultdict[str, list[Tensor]](list)
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            parts[name.partition(".")[0]].append(parameter.grad)
    return {f"grad_norm/{part}": total_norm(grads).item() for part, grads in parts.items()}


def _clip(parameters: dict[str, nn.Parameter], most: float) -> Tensor:
    """Scale the gradients so that their norm is `most` at most; what it was."""
    if not holds_shares(parameters):
        return nn.utils.clip_grad_norm_(list(parameters.values()), most)
    gradients = [p.grad for p in parameters.values() if p.grad is not None]
    norm = total_norm(gradients)
    for gradient in gradients:
        gradient.mul_(min(1.0, most / (norm.item() + 1e-6)))
    return norm


@torch.no_grad()
def _update_average(
    average: dict[str, Tensor], parameters: dict[str, nn.Parameter], decay: float
) -> None:
    for name, value in average.items():
        value.lerp_(parameters[name], 1 - decay)
