"""Speech becomes words, which then ask as typed words do: recordings in, a transcript out.

SEEM hears through a speech recogniser (Zou et al., "Segment Everything Everywhere All at Once",
arXiv 2304.06718, section 3.1: Whisper), whose transcript its text encoder reads. In "v0" and "v1"
such tokens stand where those of a text do, so a transcript is asked as a text.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from grounding.errors import CheckpointError, LavallamaError, OfflineError, PromptError
from pipelines.console import one_line

__all__ = ["Recording", "load_recogniser", "read_wav"]

RATE = 16000  # samples a second, of every speech recogniser of transformers
LONGEST = 120.0  # seconds; a name takes two
FULL_SCALE = 32768  # of 16 bits


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """Sound.

    Attributes:
        samples: In [-1, 1], one channel, [N].
        rate: Samples a second.
    """

    samples: Float32[np.ndarray, " N"]
    rate: int

    def at(self, rate: int) -> Recording:
        """The same at another rate: the mean over each new sample, or lines between old ones.

        Speech lies below 4 kHz; the aliases that an averaging filter lets through do not matter to
        a recogniser.
        """
        if rate == self.rate or not len(self.samples):
            return Recording(samples=self.samples, rate=rate)
        count = max(1, round(len(self.samples) * rate / self.rate))
        if rate > self.rate:
            places = (np.arange(count) + 0.5) * self.rate / rate - 0.5
            samples = np.interp(places, np.arange(len(self.samples)), self.samples)
        else:
            sums = np.concatenate([[0.0], np.cumsum(self.samples, dtype=np.float64)])
            edges = np.minimum(np.arange(count + 1) * self.rate / rate, len(self.samples))
            heights = np.interp(edges, np.arange(len(sums)), sums)
            samples = np.diff(heights) / np.diff(edges)
        return Recording(samples=samples.astype(np.float32), rate=rate)


def read_wav(path: str | Path) -> Recording:
    """Read a WAV file of 16-bit PCM; channels are averaged.

    Raises:
        PromptError: It is missing, no such file, silent of all samples, or too long.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            count = file.getnframes()
            if width != 2 or rate < 1:
                raise PromptError(
                    f"{path}: a recording is a WAV file of 16 bits a sample; got {8 * width}: "
                    "convert it (ffmpeg -i IN -sample_fmt s16 OUT.wav)"
                )
            if count > LONGEST * rate:
                raise PromptError(
                    f"{path}: lasts {count / rate:.0f} seconds; name the object in at most "
                    f"{LONGEST:.0f}"
                )
            data = file.readframes(count)
    except FileNotFoundError:
        raise PromptError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise PromptError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from None
    except (wave.Error, EOFError):
        raise PromptError(
            f"{path}: is not a WAV file of PCM samples; convert it (ffmpeg -i IN -sample_fmt s16 "
            "OUT.wav)"
        ) from None
    samples = np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], "<i2")
    if not len(samples):
        raise PromptError(f"{path}: is empty: it has no samples")
    mono = samples.reshape(-1, channels).astype(np.float32).mean(1) / FULL_SCALE
    return Recording(samples=mono.astype(np.float32), rate=rate)


def load_recogniser(
    source: str, *, device: str = "auto", offline: bool = False
) -> Callable[[Recording], str]:
    """Load a speech recogniser of transformers, such as a Whisper.

    Args:
        source: A folder, or a hub id such as "openai/whisper-base".
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        offline: Never use the network.

    Returns:
        A function from a recording to its transcript. It raises `PromptError` if it hears nothing.

    Raises:
        CheckpointError: There is no such recogniser.
        OfflineError: It must be downloaded and cannot be.
        LavallamaError: No such device.
    """
    from huggingface_hub import snapshot_download
    from transformers import pipeline

    from pipelines.device import choose_device

    where = choose_device(device)
    local = Path(source).is_dir()
    if not local and ("/" not in source or source.startswith((".", "/", "~"))):
        raise CheckpointError(
            f"{source}: no such folder; a speech recogniser is a folder, or a hub id such as "
            "openai/whisper-base"
        )
    try:
        if offline and not local:
            place = snapshot_download(source, local_files_only=True)
        else:
            place = source
        recogniser: Any = pipeline("automatic-speech-recognition", model=place, device=where)
    except Exception as error:  # the hub's client and transformers raise many kinds
        raise _failure(source, error, local=local) from error

    def hear(recording: Recording) -> str:
        sound = recording.at(RATE)
        try:
            heard = recogniser({"raw": sound.samples, "sampling_rate": RATE})
        except (ValueError, RuntimeError) as error:
            raise LavallamaError(
                f"{source}: cannot hear this recording: {one_line(error)}"
            ) from error
        words = " ".join(str(heard["text"]).split())
        if not words:
            raise PromptError(f"{source}: heard no word in the recording: speak up, or use --text")
        return words

    return hear


def _failure(source: str, error: Exception, *, local: bool) -> LavallamaError:
    if local:
        return CheckpointError(
            f"{source}: is no speech recogniser of transformers: {one_line(error)}"
        )
    return OfflineError(
        f"{source}: this speech recogniser is neither on this machine nor to be had from the hub "
        f"({type(error).__name__}): connect once, give the path of a local copy, or use --text"
    )
