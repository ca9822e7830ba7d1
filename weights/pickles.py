"""PyTorch pickles read as data: tensors, numbers and words, never code.

A `.bin`, `.pt`, `.pth` or `.ckpt` file is a pickle, and an ordinary unpickler runs whatever the
file asks for. `torch.load(weights_only=True)` runs nothing that is not on its list, but then
refuses the official GLIGEN checkpoints, because their `config_dict` holds OmegaConf objects. Here
those classes, and others of configuration that training scripts put beside the weights, are
replaced by inert stand-ins that keep their state and do nothing. Everything else is still refused.
See https://pytorch.org/docs/stable/notes/serialization.html#weights-only.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from grounding.errors import CheckpointError
from weights.hub_cache import name_cure

__all__ = ["STAND_INS", "read_pickle"]


class Inert:
    """Stands where a class was: takes any arguments and state, keeps the state, does nothing."""

    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Ignore what the constructor was given."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Keep what the pickle says was in the object."""
        self.state = state


def empty_dict(*_: Any) -> dict:
    """Stand where `collections.defaultdict` was (its factory is of no interest)."""
    return {}


# Classes whose objects are configuration, counters or places, in checkpoints that people share.
INERT_CLASSES = (
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    *(f"omegaconf.nodes.{name}Node" for name in ("Any", "Boolean", "Bytes", "Enum", "Float")),
    *(f"omegaconf.nodes.{name}Node" for name in ("Integer", "InterpolationResult", "Path")),
    "omegaconf.nodes.StringNode",
    # Classes named as types of config values.
    *(f"typing.{name}" for name in ("Any", "Dict", "List", "Optional", "Tuple", "Union")),
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "str", "tuple")),
    # The options of a training script, and the paths in them.
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")  # the latter since Python 3.13
        for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    ),
    *(f"datetime.{name}" for name in ("date", "datetime", "timedelta")),
    # Stable Diffusion 1.x .ckpt files carry their trainer's callbacks and counters.
    *(
        f"{lightning}.callbacks.{name}"
        for lightning in ("pytorch_lightning", "lightning.pytorch")
        for name in ("early_stopping.EarlyStopping", "model_checkpoint.ModelCheckpoint")
    ),
    "lightning_fabric.utilities.types._PATH",
    "lightning.fabric.utilities.types._PATH",
    "torch.torch_version.TorchVersion",
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    "numpy.dtype",
    "numpy.ndarray",
)
# Dicts by another name: their content is kept.
DICT_CLASSES = (
    "addict.addict.Dict",
    "detectron2.config.config.CfgNode",
    "easydict.EasyDict",
    "fvcore.common.config.CfgNode",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "mmengine.config.config.ConfigDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "yacs.config.CfgNode",
)
# Modules that are nothing but parameters: textual_inversion's embeddings, for one.
PARAMETER_CLASSES = (
    "torch.nn.modules.container.ParameterDict",
    "torch.nn.modules.container.ParameterList",
)

STAND_INS: dict[str, Any] = {
    **dict.fromkeys((*INERT_CLASSES, *PARAMETER_CLASSES), Inert),
    **dict.fromkeys(DICT_CLASSES, OrderedDict),  # the one dict that torch lets have attributes
    "collections.defaultdict": empty_dict,
}
"""Full name in the pickle -> what is put in its place."""


def read_pickle(path: str | Path) -> Any:
    """Read a PyTorch file on the CPU without executing anything that is in it.

    OmegaConf containers come back as plain dicts and lists, ParameterDicts and the dicts of
    configuration libraries as dicts, other known objects as None. Zip
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
            f"{path}: not a complete PyTorch file ({first_line(error)}): {name_cure(path)}"
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
        return f"{path}: not a PyTorch checkpoint, or a damaged one: {name_cure(path)}"
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
        if "_parameters" in state:
            names = state.get("_keys", state["_parameters"])
            return plain({name: {**state, **state["_parameters"]}.get(name) for name in names})
        return plain(state["_content"] if "_content" in state else state.get("_val"))
    if isinstance(value, type) and issubclass(value, Inert):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not isinstance(key, Inert)}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    return value
