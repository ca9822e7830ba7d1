"""CLAP: texts and recordings in one space (Wu et al., arXiv 2211.06687).

A model is a folder, or a repository of the hub, in transformers' layout of ClapModel. Of a longer
recording the first ten seconds are heard: the original takes a random part, or random parts.
Axes: N items, C channels of the space.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

from grounding.embedder import Modality, check_modality, modality_of
from grounding.errors import CheckpointError, PromptError
from grounding.recording import Recording
from weights.choose import choose_part
from weights.components import read_config
from weights.foreign_code import NO_CODE, reason_of
from weights.hub import fetch_files
from weights.own_folder import state_digest

__all__ = ["Clap", "choose_clap", "load_clap"]

WORDS = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("special_tokens_map.json", "preprocessor_config.json"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clap:
    """An embedder (`grounding.embedder`) of texts and recordings.

    Attributes:
        name: What the model is called.
        model: ClapModel of transformers.
        tokenizer: Its tokenizer.
        hearing: Its feature extractor.
    """

    name: str
    model: Any
    tokenizer: Any
    hearing: Any
    modalities: frozenset[Modality] = frozenset({"text", "audio"})

    @property
    def fingerprint(self) -> str:
        """A hash of the parameters."""
        return state_digest(self.model.state_dict())

    @property
    def scale(self) -> float:
        """The learned inverse temperature of recordings."""
        return float(self.model.logit_scale_a.exp())

    @torch.inference_mode()
    def embed(self, items: Sequence[str | Recording]) -> Float[Tensor, "N C"]:
        """Embed texts and recordings, each by itself.

        Raises:
            PromptError: A text is empty, or something is neither.
        """
        return torch.cat([self._embed(item) for item in items])

    def _embed(self, item: str | Recording) -> Float[Tensor, "1 C"]:
        check_modality(self, modality_of(item))
        device = self.model.logit_scale_a.device
        if isinstance(item, str):
            if not item.strip():
                raise PromptError("a text must have at least one word; got an empty one")
            words = self.tokenizer(item, truncation=True, return_tensors="pt").to(device)
            output = self.model.text_model(words.input_ids, words.attention_mask)
            vector = self.model.text_projection(output.pooler_output)
        else:
            heard = self._spectrogram(item).to(device)
            longer = torch.zeros(1, 1, dtype=torch.bool, device=device)
            output = self.model.audio_model(input_features=heard, is_longer=longer)
            vector = self.model.audio_projection(output.pooler_output)
        return torch.nn.functional.normalize(vector.float().cpu(), dim=-1)

    def _spectrogram(self, recording: Recording) -> Tensor:
        """What the model hears; the extractor draws from NumPy's generator, which stays as it is.

        Nothing that it draws decides anything for a recording that is not longer than it hears.
        """
        samples = recording.at(self.hearing.sampling_rate).samples[: self.hearing.nb_max_samples]
        state = np.random.get_state()
        try:
            heard = self.hearing(
                samples, sampling_rate=self.hearing.sampling_rate, return_tensors="pt"
            )
        finally:
            np.random.set_state(state)
        return heard["input_features"]


def load_clap(
    source: str | Path, *, device: torch.device | str = "cpu", offline: bool = False
) -> Clap:
    """Load a CLAP with its tokenizer and feature extractor, strictly, in float32.

    Args:
        source: A folder or a hub id, such as "laion/clap-htsat-unfused".
        device: Where it is to be.
        offline: Never use the network.

    Raises:
        CheckpointError: It is none, or incomplete or damaged.
        OfflineError: It must be downloaded and cannot be.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = fetch_files(str(source), choose_clap, offline=offline)
    if read_config(folder / "config.json").get("model_type") != "clap":
        raise CheckpointError(f"{source}: expected a model of type clap, got that of its config")
    try:
        loaded: Any = ClapModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
        model, said = loaded
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **NO_CODE)
        hearing = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and its libraries raise many kinds
        raise CheckpointError(
            f"{source}: is no CLAP that can be read: {reason_of(error)}"
        ) from error
    wrong = [*said["missing_keys"], *said["unexpected_keys"], *said["mismatched_keys"]]
    if wrong:
        raise CheckpointError(f"{source}: not a ClapModel: {', '.join(map(str, wrong[:3]))}")
    model = model.to(device).eval().requires_grad_(False)
    return Clap(name=str(source), model=model, tokenizer=tokenizer, hearing=hearing)


def choose_clap(files: Iterable[str]) -> list[str]:
    """Choose the config, one set of weights and what reads words and sounds."""
    files = list(files)
    part = choose_part(files)
    return [*part, *(file for file in WORDS if file in files)] if part else []
