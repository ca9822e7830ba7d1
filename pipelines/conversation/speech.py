"""Speech becomes words, which then ask as typed words do: recordings in, a transcript out.

SEEM hears through a speech recogniser (Zou et al., "Segment Everything Everywhere All at Once",
arXiv 2304.06718, section 3.1: Whisper), whose transcript its text encoder reads. In "v0" and "v1"
such tokens stand where those of a text do, so a transcript is asked as a text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from grounding.errors import CheckpointError, LavallamaError, PromptError
from grounding.prompt import AudioContent, Content, GroundedPrompt
from grounding.recording import Recording, read_wav
from pipelines.console import one_line

__all__ = ["Recording", "load_recogniser", "read_wav", "transcribed"]

RATE = 16000  # samples a second, of every speech recogniser of transformers


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
    from transformers import pipeline

    from pipelines.device import choose_device
    from weights.choose import choose_chat
    from weights.hub import fetch_files

    where = choose_device(device)
    folder = Path(source)
    if not folder.is_dir():
        folder = fetch_files(source, choose_chat, offline=offline)
    try:
        recogniser: Any = pipeline("automatic-speech-recognition", model=str(folder), device=where)
    except Exception as error:  # transformers raises many kinds
        raise CheckpointError(
            f"{source}: is no speech recogniser of transformers: {one_line(error)}"
        ) from error

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


def transcribed(document: GroundedPrompt, hear: Callable[[Recording], str]) -> GroundedPrompt:
    """Return a document whose recordings have their words.

    Args:
        document: Its messages and regions may name WAV files.
        hear: Of `load_recogniser`.

    Returns:
        The same with a transcript of each recording that had none; a region without a phrase is
        called what its recording says.

    Raises:
        PromptError: A recording cannot be read, or no word is heard in it.
    """

    def words(name: str) -> str:
        return hear(read_wav(name))

    def heard(content: Content) -> Content:
        if not isinstance(content, AudioContent) or content.transcript is not None:
            return content
        return content.replace(transcript=words(content.audio))

    messages = [
        message.replace(content=tuple(heard(content) for content in message.content))
        for message in document.messages
    ]
    regions = [
        region.replace(phrase=words(region.audio)) if region.audio and not region.phrase else region
        for region in document.regions
    ]
    return document.replace(messages=tuple(messages), regions=tuple(regions))
