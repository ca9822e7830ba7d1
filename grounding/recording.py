"""Recordings: sound in, samples out.

Axes: N samples.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from grounding.errors import PromptError

__all__ = ["Recording", "read_wav"]

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
