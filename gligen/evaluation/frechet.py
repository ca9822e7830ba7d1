"""Frechet Inception distance between the pictures drawn and the true ones, by torchmetrics.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", arXiv 1706.08500, with the network
and the weights of the original (torch-fidelity's port of TensorFlow's Inception v3), known by their
hash. Nothing here computes features: where that network is not at hand there is no number.

Axes: H W the picture, any size.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from grounding.errors import CheckpointError, LavallamaError, OfflineError

__all__ = ["FrechetDistance", "open_frechet"]

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"  # torch-fidelity's
WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"
WEIGHTS_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
BLOCK = 2**20  # bytes hashed at a time
CURE = 'pip install "lavallama[eval]"'


class FrechetDistance:
    """True pictures once, then the pictures of one generator after another."""

    def __init__(self, metric: Any) -> None:
        """Begin with nothing.

        Args:
            metric: `torchmetrics.image.fid.FrechetInceptionDistance`, with
                `reset_real_features=False`.
        """
        self.metric = metric
        self.true = self.drawn = 0

    def add(self, image: UInt8[np.ndarray, "H W 3"], *, real: bool) -> None:
        """Count a true picture, or a drawn one."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        self.metric.update(pixels.to(self.metric.device), real=real)
        self.true, self.drawn = self.true + real, self.drawn + (not real)

    def result(self) -> dict[str, float | int]:
        """`fid`, and how many `pictures` it is of; the drawn ones are forgotten.

        Few pictures make it large, whatever they show: compare numbers of equally many.

        Raises:
            LavallamaError: there are fewer than two pictures of either kind.
        """
        if min(self.true, self.drawn) < 2:
            raise LavallamaError(
                f"FID needs two pictures of each kind or more; got {self.true} true ones and "
                f"{self.drawn} drawn"
            )
        result = {"fid": float(self.metric.compute()), "pictures": self.drawn}
        self.metric.reset()
        self.drawn = 0
        return result


def open_frechet(
    weights: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    offline: bool = False,
    features: nn.Module | None = None,
) -> FrechetDistance:
    """Make the network ready.

    Args:
        weights: Inception's file; None: the one in torch's hub folder, downloaded if need be.
        device: Where it runs.
        offline: Never use the network.
        features: Another network in its place, whose distances are no FID: for tests.

    Raises:
        LavallamaError: torchmetrics or torch-fidelity is not installed.
        OfflineError: the weights must be downloaded and cannot be.
        CheckpointError: the file is not that of the weights.
    """
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance

        if features is None:
            import torch_fidelity  # noqa: F401  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # torchvision of another torch is a RuntimeError
        missing = getattr(error, "name", None) or str(error).splitlines()[0]
        raise LavallamaError(
            f"FID needs torchmetrics, torch-fidelity and torchvision ({missing} is missing): {CURE}"
        ) from error
    options: dict[str, Any] = {"reset_real_features": False}
    if features is not None:
        return FrechetDistance(FrechetInceptionDistance(features, **options).to(device))
    path = _weights(weights, offline)
    metric = FrechetInceptionDistance(feature_extractor_weights_path=str(path), **options)
    return FrechetDistance(metric.to(device))


def _weights(given: Path | None, offline: bool) -> Path:
    """The file of Inception's weights, and no other: it is a pickle, and read as one."""
    path = given or Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not path.is_file():
        if given is not None:
            raise CheckpointError(f"{path}: no such file; expected {WEIGHTS}")
        cure = f"get it from {WEIGHTS_URL} and name it with --fid FILE"
        if offline:
            raise OfflineError(f"FID needs {path}, which is not there: {cure}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(WEIGHTS_URL, str(path), WEIGHTS_SHA256, progress=False)
        except (OSError, RuntimeError) as error:
            raise OfflineError(f"FID's weights cannot be downloaded ({error}): {cure}") from error
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != WEIGHTS_SHA256:
        raise CheckpointError(
            f"{path}: expected {WEIGHTS} with the SHA-256 {WEIGHTS_SHA256[:12]}..., got "
            f"{digest.hexdigest()[:12]}...: get it from {WEIGHTS_URL}"
        )
    return path
