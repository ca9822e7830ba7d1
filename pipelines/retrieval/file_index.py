"""FileIndex: the pictures and recordings of a folder, found by what they show or sound like.

Vectors are remembered by the hash of a file's content, for each model in a file of its own, so that
only what is new is read by the model; nothing is written into the folder.
Axes: N files, C channels of the embedder.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from grounding.embedder import Embedder, Item, Modality
from grounding.errors import LavallamaError, PromptError
from grounding.picture_file import PICTURE_SUFFIXES, open_picture
from grounding.picture_folder import list_picture_files
from grounding.recording import read_wav
from weights.tensor_file import write_safetensors

__all__ = ["FileIndex", "Hit", "build_index"]

ENDINGS: dict[Modality, tuple[str, ...]] = {
    "image": PICTURE_SUFFIXES,
    "audio": (".wav",),
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A file that was found.

    Attributes:
        path: Of it.
        score: The cosine of its vector and that of what was looked for, -1 to 1.
    """

    path: Path
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class FileIndex:
    """Files and their vectors.

    Attributes:
        embedder: Whose.
        paths: N files.
        vectors: Of them.
        broken: Files that could not be read, which were told.
    """

    embedder: Embedder
    paths: tuple[Path, ...]
    vectors: Float[Tensor, "N C"]
    broken: tuple[Path, ...] = ()

    def search(self, wanted: Sequence[Item], *, count: int = 10) -> list[Hit]:
        """Find the files nearest to all that is wanted together, the nearest first.

        Args:
            wanted: Texts, pictures, recordings: their mean is looked for, as ImageBind adds
                modalities (arXiv 2305.05665, section 5.2).
            count: Files at most.

        Raises:
            PromptError: Nothing is wanted, or what the embedder cannot read.
        """
        if not wanted:
            raise PromptError("say what to look for: a text, a picture or a recording")
        mean = self.embedder.embed(wanted).mean(0)
        scores = self.vectors @ torch.nn.functional.normalize(mean, dim=0)
        order = scores.sort(descending=True, stable=True).indices[:count].tolist()
        return [Hit(path=self.paths[place], score=float(scores[place])) for place in order]


def build_index(
    folder: str | Path, embedder: Embedder, *, remembered: str | Path | None = None
) -> FileIndex:
    """Embed the files of a folder, and of the folders in it.

    Args:
        folder: With pictures or recordings (WAV); those of modalities that the embedder can read.
        embedder: Whose vectors.
        remembered: A folder where vectors are kept; None: nowhere.

    Returns:
        The index; files that cannot be read are left out, and each is logged as an error.

    Raises:
        PromptError: There is no such folder, or nothing in it that can be read.
        OutputError: Vectors cannot be kept there.
    """
    root = Path(folder)
    if not root.is_dir():
        raise PromptError(f"{root}: no such folder; check the path")
    endings: dict[str, Modality] = {
        end: kind for kind in ENDINGS for end in ENDINGS[kind] if kind in embedder.modalities
    }
    pictures = list_picture_files(root)
    files = [file for file in root.rglob("*") if file.suffix.lower() in ENDINGS["audio"]]
    files = sorted(file for file in (*files, *pictures.files) if file.suffix.lower() in endings)
    for file, reason in pictures.passed_over if "image" in embedder.modalities else ():
        log.warning("left out: %s: %s", file, reason)
    store = None if remembered is None else Path(remembered) / f"{embedder.fingerprint}.safetensors"
    known = {} if store is None else _known(store)
    before = len(known)
    named: list[tuple[Path, str]] = []
    broken: list[Path] = []
    for file in tqdm([file for file in files if file.is_file()], "indexing", disable=None):
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if digest not in known:
                known[digest] = embedder.embed([_item(file, endings[file.suffix.lower()])])[0]
        except (LavallamaError, OSError) as error:
            reason = f"{file}: {error.strerror}" if isinstance(error, OSError) else error
            log.error("left out: %s", reason)
            broken.append(file)
            continue
        named.append((file, digest))
    if not named:
        why = f"; {len(broken)} of them cannot be read" if broken else ""
        raise PromptError(
            f"{root}: holds nothing that {embedder.name} reads: {_said(endings)}{why}"
        )
    if store is not None and len(known) > before:
        write_safetensors(known, store)
    vectors = torch.stack([known[digest] for _, digest in named])
    return FileIndex(
        embedder=embedder,
        paths=tuple(file for file, _ in named),
        vectors=vectors,
        broken=tuple(broken),
    )


def _item(file: Path, kind: Modality) -> Item:
    return read_wav(file) if kind == "audio" else open_picture(file)


def _known(store: Path) -> dict[str, Tensor]:
    """Vectors by the hash of contents; a file that is damaged is made anew."""
    if not store.is_file():
        return {}
    try:
        return load_file(store)
    except (SafetensorError, OSError):
        log.warning("%s: is damaged; it is made anew", store)
        return {}


def _said(endings: Iterable[str]) -> str:
    return ", ".join(f"*{ending}" for ending in endings)
