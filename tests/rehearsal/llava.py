"""LLaVA 1.5 in llava-hf's layout and in the original one, with its tower and tokenizer beside."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import CLIPVisionConfig, LlamaConfig

from grounding.llava.config import LlavaConfig
from grounding.llava.model import build_llava
from tests.rehearsal.material import Entry, entries, map_tensors, write_stream
from tests.rehearsal.stable_diffusion import write_json
from weights.llava import llava_state
from weights.llava_config import LARGE
from weights.llava_keys import original_key, transformers_key

__all__ = ["rehearse_llava", "tokenizer_model"]

WORDS, IMAGE, PADDED = 32000, 32000, 32064  # Vicuna's; llava-hf adds <image> and <pad>
SHARD = 5_000_000_000  # bytes, as transformers cuts
SENTENCES = "What is it? A llama stands on a hill of wool and asks the assistant a question."


def rehearse_llava(folder: Path, tiny: bool) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Write LLaVA 1.5 (7B) in both layouts; see `rehearse_sd14`."""
    config = sizes(tiny)
    job = {
        "kind": "answer",
        "dtype": "float32" if tiny else "bfloat16",
        "tokens": 1,
        "words": WORDS,
    }
    words = tokenizer_model(folder)

    def write_transformers() -> dict[str, Any]:
        target = folder / "llava-1.5-7b-hf"
        named = {transformers_key(key): one for key, one in parameters(config).items()}
        write_shards(target, {key: padded(key, one) for key, one in named.items()})
        text = {**config.text.to_dict(), "vocab_size": PADDED}
        said = {
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "image_token_index": IMAGE,
            "projector_hidden_act": "gelu",
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "text_config": text,
            "vision_config": config.vision.to_dict(),
        }
        write_json(target / "config.json", said)
        write_words(words, target)
        return {**job, "model": target, "gone": target.name}

    def write_original() -> dict[str, Any]:
        target, tower = folder / "llava-v1.5-7b", folder / "clip"
        every = parameters(config)
        inside = {k: e for k, e in every.items() if not k.startswith("vision_tower.")}
        named = {original_key(key, "model"): one for key, one in inside.items()}
        write_shards(target, named, pickled=True)
        vision = {
            f"vision_model.{key.removeprefix('vision_tower.')}": one
            for key, one in every.items()
            if key.startswith("vision_tower.")
        }
        write_stream(tower / "model.safetensors", [one.named(k) for k, one in vision.items()])
        write_json(tower / "config.json", config.vision.to_dict())
        said = {
            **config.text.to_dict(),
            "architectures": ["LlavaLlamaForCausalLM"],
            "model_type": "llava",
            "mm_projector_type": "mlp2x_gelu",
            "mm_hidden_size": config.vision.hidden_size,
            "mm_vision_select_layer": -2,
            "mm_vision_select_feature": "patch",
            "mm_vision_tower": str(tower),
            "mm_use_im_start_end": False,
            "image_aspect_ratio": "pad",
        }
        write_json(target / "config.json", said)
        write_words(words, target)
        return {**job, "model": target, "tower": tower, "gone": target.name}

    yield "llava-hf (.safetensors in shards)", write_transformers
    yield "original (.bin in shards, tower apart, tokenizer.model)", write_original


def sizes(tiny: bool) -> LlavaConfig:
    """LLaVA 1.5 7B, or one of a few thousand parameters with as many words."""
    small: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2}
    text: dict[str, Any] = {
        "vocab_size": WORDS,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    }
    large: dict[str, Any] = {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
    }
    vision = {**small, **heads, "num_hidden_layers": 3, "image_size": 28, "patch_size": 14}
    return LlavaConfig(
        vision=CLIPVisionConfig(**(vision if tiny else {**LARGE, "image_size": 336})),
        text=LlamaConfig(
            **text, **(small | heads if tiny else {**large, "num_attention_heads": 32})
        ),
        projector="mlp2x_gelu",
        aspect="pad",
    )


def parameters(config: LlavaConfig) -> dict[str, Entry]:
    """All parameters by our names."""
    with init_empty_weights(include_buffers=False):
        model = build_llava(config)
    own = llava_state(model)
    return dict(zip(own, entries(model, torch.float16, "").values(), strict=True))


def padded(key: str, one: Entry) -> Entry:
    """The tables of words with rows for <image> and what fills them up."""
    if not key.endswith(("embed_tokens.weight", "lm_head.weight")):
        return one
    make, width = one.make, one.shape[1]

    def longer() -> torch.Tensor:
        return torch.cat((make(), torch.zeros(PADDED - WORDS, width, dtype=one.dtype)))

    return Entry(name=one.name, shape=(PADDED, width), dtype=one.dtype, make=longer)


def write_shards(folder: Path, named: Mapping[str, Entry], *, pickled: bool = False) -> None:
    """Write shards and their index, holding one tensor at a time."""
    groups: list[list[Entry]] = [[]]
    size = 0
    for key, one in named.items():
        bytes_ = torch.Size(one.shape).numel() * one.dtype.itemsize
        if groups[-1] and size + bytes_ > SHARD:
            groups.append([])
            size = 0
        groups[-1].append(one.named(key))
        size += bytes_
    stem, end = ("pytorch_model", ".bin") if pickled else ("model", ".safetensors")
    weight_map = {}
    for number, group in enumerate(groups, 1):
        name = f"{stem}-{number:05}-of-{len(groups):05}"
        path = write_stream(folder / f"{name}.safetensors", group)
        if pickled:
            torch.save(map_tensors(path), folder / f"{name}.bin")
            path.unlink()
        weight_map |= {one.name: f"{name}{end}" for one in group}
    write_json(folder / f"{stem}{end}.index.json", {"metadata": {}, "weight_map": weight_map})


@cache
def tokenizer_model(folder: Path) -> Path:
    """Train a small SentencePiece model; with it the original layout has no other tokenizer.

    As Llama's it leaves texts as they are: what SentencePiece does by default (NFKC, spaces and
    line breaks made one) transformers reads off tokenizer.model by some ways, and by others not.
    """
    import sentencepiece

    text = folder / "text.txt"
    text.write_text("\n".join([SENTENCES, SENTENCES.lower(), SENTENCES.upper()] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=340,
        model_type="bpe",
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / "tokenizer.model"


def write_words(words: Path, folder: Path) -> None:
    """Write what liuhaotian's repositories have: tokenizer.model and two small files."""
    (folder / "tokenizer.model").write_bytes(words.read_bytes())
    said = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": None,
    }
    write_json(folder / "tokenizer_config.json", said)
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )
