"""PyTorch pickles read as data: tensors, numbers and words, never code.

A `.bin`, `.pt`, `.pth` or `.ckpt` file is a pickle, and an ordinary unpickler runs whatever the
file asks for. `torch.load(weights_only=True)` runs nothing that is not on its list, but then
refuses the official GLIGEN checkpoints, because their `config_dict` holds OmegaConf objects. Here
those classes (and the few that older Stable Diffusion checkpoints mention) are replaced by one
inert stand-in that keeps its state and does nothing. Everything else is still refused.
See https://pytorch.org/docs/stable/notes/serialization.html#weights-only.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from grounding.errors import CheckpointError

__all__ = ["STAND_INS", "read_pickle"]


class Inert:
    """Stands where a class was: takes any arguments and state, keeps the state, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Ignore what the constructor was given."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        """Keep what the pickle says was in the object."""
        self.state = state


def empty_dict(*_: Any) -> dict:
    """Stand where `collections.defaultdict` was (its factory is of no interest)."""
    return {}


STAND_INS: dict[str, Any] = {
    **dict.fromkeys(
        (
            "omegaconf.dictconfig.DictConfig",
            "omegaconf.listconfig.ListConfig",
            "omegaconf.base.ContainerMetadata",
            "omegaconf.base.Metadata",
            "omegaconf.nodes.AnyNode",
            "omegaconf.nodes.BooleanNode",
            "omegaconf.nodes.FloatNode",
            "omegaconf.nodes.IntegerNode",
            "omegaconf.nodes.StringNode",
            "typing.Any",
            "typing.Dict",
            "typing.List",
            "typing.Union",
            # Classes named as types of config values.
            "builtins.bool",
            "builtins.dict",
            "builtins.float",
            "builtins.int",
            "builtins.list",
            "builtins.str",
            # Stable Diffusion 1.x .ckpt files carry their trainer's callbacks and counters.
            "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
            "lightning_fabric.utilities.types._PATH",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.dtype",
        ),
        Inert,
    ),
    "collections.defaultdict": empty_dict,
}
"""Full name in the pickle -> what is put in its place."""


def read_pickle(path: str | Path) -> Any:
    """Read a PyTorch file on the CPU without executing anything that is in it.

    OmegaConf containers come back as plain dicts and lists, other known objects as None. Zip
    files (PyTorch 1.6 and newer) are memory-mapped, so that tensors that are never used are
    never read.

    Args:
        path: A `.bin`, `.pt`, `.pth` or `.ckpt` file.

    Returns:
        What was saved: tensors, numbers, strings, dicts, lists, tuples.

    Raises:
        CheckpointError: Not a PyTorch file, a truncated one, or one that asks for code.
    """
    path = Path(path)
    allowed: list[Any] = [(stand_in, name) for name, stand_in in STAND_INS.items()]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            # A newer pickle protocol than usual is no reason to warn: it is read or refused.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            loaded = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except UnpicklingError as error:
        raise CheckpointError(refusal(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise CheckpointError(
            f"{path}: not a complete PyTorch file ({first_line(error)}): download or copy it again"
        ) from error
    try:
        return plain(loaded)
    except RecursionError as error:
        raise CheckpointError(f"{path}: refused: what it holds is nested without end") from error


def refusal(path: Path, reason: str) -> str:
    """Say in one line what a pickle asked for that is not data."""
    match = re.search(
        r"GLOBAL (\S+)|unrecognized function <?(?:class |built-in function |function )?'?([\w.]+)",
        reason,
    )
    if match is None:
        return f"{path}: not a PyTorch checkpoint, or a damaged one: download or copy it again"
    return (
        f"{path}: refused, nothing was executed: expected tensors and configuration, "
        f"the pickle asks for {match[1] or match[2]}"
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def plain(value: Any) -> Any:
    """Replace stand-ins by the values they carry, however deep they are."""
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        return plain(state["_content"] if "_content" in state else state.get("_val"))
    if isinstance(value, type) and issubclass(value, Inert):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not isinstance(key, Inert)}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    return value
