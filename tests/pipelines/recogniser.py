"""A tiny random Whisper in the format of the real one, and recordings for it."""

import json
import wave
from pathlib import Path

import numpy as np
import torch
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>")


def tiny_whisper(folder: Path) -> Path:
    """Write one that says a few letters of nonsense, always the same."""
    letters = [chr(code) for code in (*range(33, 127), *range(0xA1, 0xAD), *range(0xAE, 0x100))]
    letters += [chr(0x100 + index) for index in range(256 - len(letters))]
    tokens = {token: index for index, token in enumerate((*letters, *SPECIAL))}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(tokens))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")
    )
    end, start, plain = (tokens[token] for token in SPECIAL)
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokens),
            num_mel_bins=8,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_source_positions=50,  # one second
            max_target_positions=448,
            pad_token_id=end,
            bos_token_id=end,
            eos_token_id=end,
            decoder_start_token_id=start,
        )
    )
    # Old versions of transformers go on to 256 tokens, whatever the model says: it ends by itself.
    decoder = model.model.decoder
    with torch.no_grad():
        words, places = decoder.embed_tokens.weight, decoder.embed_positions.weight
        words[:, 0], words[end] = 0, torch.eye(words.shape[1])[0]
        places[:, 0] = torch.where(torch.arange(len(places)) < 5, -10, 10)
    generation = model.generation_config
    generation.max_new_tokens, generation.max_length = 16, None
    generation.update(no_timestamps_token_id=plain, is_multilingual=False)
    unwanted = [index for token, index in tokens.items() if not token.isascii()]
    generation.suppress_tokens = [*unwanted, start, plain]
    generation.begin_suppress_tokens = None
    model.save_pretrained(folder)
    hearing = WhisperFeatureExtractor(feature_size=8, chunk_length=1, n_fft=400)
    WhisperProcessor(hearing, tokenizer).save_pretrained(folder)
    return folder


def write_wav(path: Path, samples: np.ndarray, rate: int = 16000, width: int = 2) -> Path:
    """Write samples in [-1, 1], [N] or [N, channels]."""
    numbers = np.rint(samples * (2 ** (8 * width - 1) - 1)).astype({1: "u1", 2: "<i2"}[width])
    with wave.open(str(path), "wb") as file:
        file.setparams((1 if samples.ndim == 1 else samples.shape[1], width, rate, 0, "NONE", ""))
        file.writeframes(numbers.tobytes())
    return path


def tone(seconds: float = 0.5, rate: int = 16000, pitch: float = 440.0) -> np.ndarray:
    """A sine of half the full volume."""
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)
