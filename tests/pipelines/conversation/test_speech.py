import numpy as np
import pytest

from grounding.document_paths import place_beside
from grounding.errors import CheckpointError, OfflineError, PromptError
from grounding.prompt import GroundedPrompt
from pipelines.conversation.speech import RATE, Recording, load_recogniser, read_wav, transcribed
from tests.pipelines.recogniser import tiny_whisper, tone, write_wav


def test_recordings_are_read_as_they_were_written(tmp_path):
    sound = tone()
    recording = read_wav(write_wav(tmp_path / "a.wav", sound))
    assert recording.rate == 16000
    assert recording.samples.dtype == np.float32
    assert np.abs(recording.samples - sound).max() < 1e-4


def test_channels_are_averaged(tmp_path):
    both = np.stack([tone(), np.zeros(8000)], axis=1)
    recording = read_wav(write_wav(tmp_path / "a.wav", both))
    assert np.abs(recording.samples - tone() / 2).max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_are_brought_to_16_khz(rate):
    recording = Recording(samples=tone(rate=rate).astype(np.float32), rate=rate).at(RATE)
    assert recording.rate == RATE
    assert len(recording.samples) == 8000
    inner = slice(10, -10)  # a wave's ends are unlike its middle
    shift = min(
        np.abs(recording.samples[inner] - np.roll(tone(), move)[inner]).max() for move in (-1, 0, 1)
    )
    assert shift < 0.1


def test_lowering_the_rate_does_not_fold_high_tones_back():
    high = Recording(samples=tone(rate=48000, pitch=16000).astype(np.float32), rate=48000)
    assert np.abs(high.at(RATE).samples).max() < 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "no such file"),
        (lambda path: path.write_bytes(b"RIFFxxxxWAVE") and path, "is not a WAV file"),
        (lambda path: path.write_bytes(b"") or path, "is not a WAV file"),
        (lambda path: write_wav(path, np.zeros(0)), "has no samples"),
        (lambda path: write_wav(path, np.zeros(9), width=1), "16 bits a sample; got 8"),
        (lambda path: write_wav(path, np.zeros(2000), rate=10), "lasts 200 seconds"),
    ],
)
def test_what_is_no_recording_is_said_in_one_line(tmp_path, make, message):
    with pytest.raises(PromptError, match=message) as caught:
        read_wav(make(tmp_path / "a.wav"))
    assert "\n" not in str(caught.value)


def test_a_recogniser_hears_the_same_words_each_time(tmp_path):
    hear = load_recogniser(str(tiny_whisper(tmp_path / "whisper")), device="cpu")
    sound = Recording(samples=tone(rate=8000).astype(np.float32), rate=8000)
    words = hear(sound)
    assert words.strip()
    assert hear(sound) == words


def test_what_is_no_recogniser_is_said_in_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load_recogniser("nothing", device="cpu")
    with pytest.raises(CheckpointError, match="is no speech recogniser"):
        load_recogniser(str(tmp_path), device="cpu")
    with pytest.raises(OfflineError, match="connect once"):
        load_recogniser("someone/whisper", device="cpu", offline=True)


def test_recordings_of_a_document_get_their_words(tmp_path):
    write_wav(tmp_path / "a.wav", tone())
    recording = {"type": "audio", "audio": "a.wav"}
    known = {"type": "audio", "audio": "none.wav", "transcript": "a cat"}
    document = GroundedPrompt.model_validate(
        {
            "messages": [{"role": "user", "content": [recording, known]}],
            "regions": [{"audio": "a.wav"}, {"audio": "none.wav", "phrase": "dog"}],
        }
    )
    heard = transcribed(
        place_beside(document, tmp_path), lambda sound: f"{len(sound.samples)} samples"
    )
    said = [content.transcript for content in heard.messages[0].content]
    assert said == ["8000 samples", "a cat"]
    assert [region.phrase for region in heard.regions] == ["8000 samples", "dog"]
    with pytest.raises(PromptError, match=r"a\.wav: no such file"):
        transcribed(place_beside(document, tmp_path / "elsewhere"), lambda sound: "")
