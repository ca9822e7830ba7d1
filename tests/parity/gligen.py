"""Ours against the official code's numbers: `python -m tests.parity.gligen FILE.npz [--tag TAG]`.

Prints one line for each array of the file: its relative error (norm of the difference over norm of
the reference), and whether that is below 1e-4. Exits with 0 if all of them are; an array that we
cannot compute is a failure.
"""

import argparse
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gligen.fourier import fourier_embed
from tests.parity.fill import unit
from tests.parity.gligen_model import VARIANTS, GoldenModel

TOLERANCE = 1e-4
SAMPLE = re.compile(r"sample/(plms|ddim)_([\d.]+)_([\d.]+)_([\d.]+)")
PART = re.compile(r"(\w+)/(tokens|null_tokens|downsampled|eps_null|eps_scale[\d.]+)")


def compute(model: GoldenModel | None, tag: str, name: str, shape: tuple[int, ...]) -> Tensor:
    """Our version of an array of the file.

    Args:
        model: the variant that `variant_of` names for it.
        tag: prefix of the inputs' names.
        name: of the array.
        shape: of the reference.
    """
    if model is None:
        return fourier_embed(unit(f"{tag}:fourier", (shape[0], 4)))
    if match := SAMPLE.fullmatch(name):
        with torch.no_grad():
            return model.sampled(shape, match[1], [float(part) for part in match.groups()[1:]])
    return model.compute(name.partition("/")[2], shape)


def variant_of(name: str) -> str | None:
    """The variant of GLIGEN that an array is of; "" for none at all; None for an unknown array."""
    if name == "fourier":
        return ""
    if SAMPLE.fullmatch(name):
        return "text"
    match = PART.fullmatch(name)
    return match[1] if match and match[1] in VARIANTS else None


def relative_error(ours: Tensor, reference: np.ndarray) -> float:
    """Norm of the difference over norm of the reference, in float64."""
    wanted = torch.from_numpy(np.asarray(reference, dtype=np.float64))
    return float((ours.double() - wanted).norm() / wanted.norm())


def main(argv: list[str] | None = None) -> int:
    """Compare every array of a golden file; 0 if all pass, 1 if one fails, 2 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.gligen", description=__doc__)
    parser.add_argument("file", type=Path, help="golden numbers (.npz)")
    parser.add_argument("--tag", default="golden", help="prefix of the inputs' names")
    options = parser.parse_args(argv)
    try:
        golden = dict(np.load(options.file))
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        print(f"cannot read golden numbers (.npz) from {options.file}: {error}", file=sys.stderr)
        return 2
    failed, model = 0, None
    for name, reference in golden.items():
        variant = variant_of(name)
        if variant is None:
            print(f"{name:32s} {'-':>9s}  FAIL: no such array is known")
            failed += 1
            continue
        if variant and (model is None or model.variant != variant):
            model = GoldenModel(options.tag, variant)
        ours = compute(model if variant else None, options.tag, name, reference.shape)
        fits = tuple(ours.shape) == reference.shape
        error = relative_error(ours, reference) if fits else float("inf")
        failed += not error < TOLERANCE
        print(f"{name:32s} {error:9.2e}  {'ok' if error < TOLERANCE else 'FAIL'}", flush=True)
    print(f"{len(golden)} compared, {failed} failed")
    return 1 if failed else 0 if golden else 2


if __name__ == "__main__":
    sys.exit(main())
