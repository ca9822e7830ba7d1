"""SEEM models in and out of files.

| layout      | what is written                             | names                       |
|-------------|---------------------------------------------|-----------------------------|
| `lavallama` | folder: `model.safetensors`, `config.json`  | ours                        |
| `official`  | `.pt` file: the plain state dict            | official (`weights.seem_keys`) |

Reading is strict: every parameter is there, of the right shape, and nothing else is; two buffers
that hold no parameters are dropped and written again. Models are recognised by keys and shapes.
Official files do not say how queries are grouped (demo, v0, v1: the parameters have the same names
and shapes), so the caller does. X-Decoder's checkpoints, from which SEEM was trained, load too:
what they lack, the parameters of spatial prompts and memories, keeps its fresh values.
Tensors keep their type and bits in both directions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from grounding.errors import CheckpointError, LavallamaError, OutputError
from grounding.files import write_files
from seem.config import GroupingName, SeemConfig
from seem.model import Seem, build_seem
from weights import seem_keys
from weights.empty import empty_parameters
from weights.keymap import name_some
from weights.own_folder import read_document, state_digest
from weights.tensor_file import TensorFile, write_safetensors

__all__ = ["Layout", "load_seem", "read_seem", "write_seem"]

logger = logging.getLogger(__name__)

Layout = Literal["lavallama", "official"]
FORMAT = "lavallama-seem"
FORMAT_VERSION = 1
WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
COCO_CLASSES = 133  # panoptic, without "background"
NO_OBJECT_WEIGHT = 0.1  # SEEM, NO_OBJECT_WEIGHT
FRESH_SEED = 0  # parameters that a checkpoint lacks are the same at every load
UNSAID = (
    "grouping",
    "heads",
    "queries_per_object",
    "max_prompt_pixels",
    "mark_positions",
    "text_heads",
    "backbone",
    "refiner",
)
"""Fields of a config that shapes do not settle."""


def read_seem(
    source: str | Path, *, grouping: GroupingName | None = None
) -> tuple[dict[str, Tensor], SeemConfig]:
    """Read a SEEM or X-Decoder checkpoint.

    Args:
        source: An official file, our own folder, or the `model.safetensors` in it.
        grouping: Who attends to whom; None: as our own folder says, "v1" for official files.

    Returns:
        The state dict in our names (on the CPU, types as stored) and the model's config. All
        parameters of the model, but for X-Decoder's: those lack `weights.seem_keys.SEEM_ONLY`.

    Raises:
        CheckpointError: Not a SEEM, incomplete, damaged, or with unknown parameters.
    """
    path = Path(source)
    if path.is_dir():
        path = path / WEIGHTS_NAME
    if path.name == WEIGHTS_NAME and (path.parent / CONFIG_NAME).is_file():
        state, config = _read_own(path)
    else:
        state, config = _read_official(path)
    return state, config if grouping is None else replace(config, grouping=grouping)


def load_seem(source: str | Path, *, grouping: GroupingName | None = None) -> Seem:
    """Read a checkpoint and build its model, on the CPU and in the type it is stored in.

    Args and Raises: as for `read_seem`.
    """
    state, config = read_seem(source, grouping=grouping)
    with empty_parameters():
        model = build_seem(config)
    lacking = model.state_dict().keys() - state.keys()
    if lacking:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(FRESH_SEED)
            fresh = build_seem(config).decoder.state_dict(prefix="decoder.")
        kind = state["decoder.class_embed"].dtype
        state = {**state, **{key: fresh[key].to(kind) for key in lacking}}
    model.load_state_dict(state, assign=True)
    return model


def write_seem(
    state: Mapping[str, Tensor],
    config: SeemConfig,
    path: str | Path,
    *,
    layout: Layout = "lavallama",
) -> Path:
    """Write a SEEM model, completely.

    Args:
        state: Our key -> tensor, all of `Seem.state_dict()`.
        config: The model's config.
        path: A folder for `lavallama`, a file (`.pt`) for `official`.
        layout: See the table in this file's head.

    Returns:
        What was written.

    Raises:
        CheckpointError: The state is not the config's, or the layout cannot express it.
        OutputError: The place cannot be written.
    """
    path = Path(path)
    if layout not in get_args(Layout):
        raise CheckpointError(f"expected a layout of {', '.join(get_args(Layout))}, got {layout!r}")
    _check(_shapes(state), config, "the model")
    if layout == "lavallama":
        return _write_own(state, config, path)
    _check_expressible(state, config)
    ready = {
        seem_keys.official_key(key): tensor.detach().to("cpu").clone()
        for key, tensor in state.items()
    }
    ready[seem_keys.MORPHOLOGY_BUFFER] = torch.ones(1, 1, 3, 3)
    if config.grouping != "demo":  # the demo's code has no loss
        weight = torch.ones(COCO_CLASSES + 1)
        weight[-1] = NO_OBJECT_WEIGHT
        ready[seem_keys.LOSS_BUFFER] = weight
    write_files({path: lambda partial: torch.save(ready, partial)})
    return path


def _read_official(path: Path) -> tuple[dict[str, Tensor], SeemConfig]:
    file = TensorFile(path)
    prefix = seem_keys.prefix_of(file.shapes, str(path))
    names: dict[str, str] = {}
    unknown = []
    for key in file.shapes:
        inner = key[len(prefix) :]
        ours = seem_keys.our_key(inner)
        if key.startswith(prefix) and seem_keys.is_ignored(inner):
            continue
        if not key.startswith(prefix) or ours is None:
            unknown.append(key)
        else:
            names[key] = ours
    if unknown:
        raise CheckpointError(f"{path}: unknown parameters {name_some(unknown)}")
    shapes = {ours: file.shapes[key] for key, ours in names.items()}
    config = seem_keys.infer_config(shapes, str(path))
    without = not any(key.startswith(seem_keys.SEEM_ONLY) for key in shapes)
    _check(shapes, config, str(path), without=seem_keys.SEEM_ONLY if without else ())
    if without:
        logger.warning(
            "%s: an X-Decoder checkpoint: spatial prompts and memories are missing (%s) and keep "
            "fresh values",
            path,
            ", ".join(f"{part}*" for part in seem_keys.SEEM_ONLY),
        )
    return {names[key]: tensor for key, tensor in file.read(names).items()}, config


def _read_own(path: Path) -> tuple[dict[str, Tensor], SeemConfig]:
    where = path.parent / CONFIG_NAME
    document = read_document(where, FORMAT, FORMAT_VERSION)
    values = document.get("config")
    if not isinstance(values, dict):
        raise CheckpointError(f'{where}: expected "config" to be a JSON object')
    try:
        config = SeemConfig.from_dict(values)
    except LavallamaError as error:
        raise CheckpointError(f"{where}: {error}") from error
    file = TensorFile(path)
    inferred = seem_keys.infer_config(file.shapes, str(path))
    different = _differences(config, replace(inferred, **_values(config, UNSAID)))
    if different:
        raise CheckpointError(
            f"{where}: {name_some(different)} not as in the weights: the two files do not belong "
            "together"
        )
    _check(file.shapes, config, str(path))
    state = file.read()
    if document.get("sha256") != state_digest(state):
        raise CheckpointError(f"{path}: its sha256 is not the one in {CONFIG_NAME}: copy it again")
    return state, config


def _write_own(state: Mapping[str, Tensor], config: SeemConfig, folder: Path) -> Path:
    if folder.is_file():
        raise OutputError(f"{folder}: expected a folder to write to, it is a file")
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sha256": state_digest(state),
        "config": config.as_dict(),
    }
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    write_safetensors(state, folder / WEIGHTS_NAME)
    write_files({folder / CONFIG_NAME: text.encode()})
    return folder


def _check(
    shapes: Mapping[str, tuple[int, ...]],
    config: SeemConfig,
    source: str,
    *,
    without: tuple[str, ...] = (),
) -> None:
    """Compare names and shapes with those of the config's model, but for some prefixes."""
    try:
        with empty_parameters():
            expected = _shapes(build_seem(config).state_dict())
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{source}: sizes that no SEEM can have: {error}") from error
    if without:
        expected = {key: shape for key, shape in expected.items() if not key.startswith(without)}
    problems = []
    for what, keys in (
        ("missing", expected.keys() - shapes.keys()),
        ("unknown", shapes.keys() - expected.keys()),
    ):
        if keys:
            problems.append(f"{what} {name_some(keys)}")
    if problems:
        raise CheckpointError(f"{source}: not a complete SEEM: {'; '.join(problems)}")
    for key in sorted(expected):
        if shapes[key] != expected[key]:
            raise CheckpointError(
                f"{source}: {key} has shape {shapes[key]}, expected {expected[key]}"
            )


def _check_expressible(state: Mapping[str, Tensor], config: SeemConfig) -> None:
    """Refuse to write an official file that would be read back as another model."""
    back = seem_keys.infer_config(_shapes(state), "the model")
    different = _differences(config, replace(back, grouping=config.grouping))
    if different:
        raise CheckpointError(
            f"layout 'official' cannot say {name_some(different)}: only the values of published "
            "models can be read back from it; use 'lavallama'"
        )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _values(config: SeemConfig, names: tuple[str, ...]) -> dict[str, object]:
    return {name: getattr(config, name) for name in names}


def _differences(one: SeemConfig, other: SeemConfig) -> list[str]:
    """Names of the fields in which two configs differ."""
    return [f.name for f in fields(SeemConfig) if getattr(one, f.name) != getattr(other, f.name)]
