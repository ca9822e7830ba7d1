import numpy as np
import pytest
import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

from grounding.errors import CheckpointError, PromptError
from grounding.recording import Recording
from weights.clap import load_clap

TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
AUDIO = {
    "window_size": 2,
    "num_mel_bins": 16,
    "spec_size": 32,
    "patch_size": 4,
    "patch_stride": [4, 4],
    "patch_embeds_hidden_size": 8,
    "hidden_size": 16,
    "depths": [1, 1],
    "num_attention_heads": [2, 2],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A CLAP of a few thousand parameters in transformers' layout; it hears one second."""
    folder = tmp_path_factory.mktemp("clap") / "model"
    folder.mkdir()
    letters = [chr(code) for code in range(33, 127)]
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, "\u0120"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = RobertaTokenizer(vocab=vocabulary, merges=[])
    tokenizer.save_pretrained(folder)
    text = {"vocab_size": len(words), "num_attention_heads": 2, "max_position_embeddings": 40}
    config = ClapConfig(text_config={**TEXT, **text}, audio_config=AUDIO, projection_dim=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=8000,
        hop_length=250,
        max_length_s=1,
        frequency_max=4000,
        truncation="rand_trunc",
    ).save_pretrained(folder)
    return folder


def sound(seconds, rate=8000, pitch=440.0):
    times = np.arange(round(seconds * rate)) / rate
    return Recording(samples=np.sin(2 * np.pi * pitch * times).astype(np.float32), rate=rate)


def test_texts_and_recordings_share_a_space(folder):
    clap = load_clap(folder)
    vectors = clap.embed(["a dog barks", sound(0.5), sound(0.5, pitch=2000.0)])
    assert vectors.shape == (3, 8)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(3))
    assert not torch.equal(vectors[1], vectors[2])
    plain = ClapModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        words = clap.tokenizer("a dog barks", return_tensors="pt")
        wanted = plain.get_text_features(**words).pooler_output
    assert torch.allclose(vectors[0], wanted[0], atol=1e-6)


def test_of_a_longer_recording_the_beginning_is_heard_always_the_same(folder):
    clap = load_clap(folder)
    state = np.random.get_state()[1].copy()
    long = clap.embed([sound(2.5)])
    assert torch.equal(long, clap.embed([sound(1.0)]))
    assert (np.random.get_state()[1] == state).all()


def test_what_cannot_be_read_is_refused(folder, tmp_path):
    with pytest.raises(PromptError, match="at least one word"):
        load_clap(folder).embed([""])
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(CheckpointError, match="expected a model of type clap"):
        load_clap(tmp_path)
