"""Loading a LLaVA that can be spoken with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from grounding.errors import CheckpointError
from grounding.llava.chat import Chat
from grounding.llava.quantization import Bits, quantize
from grounding.llava.template import find_template
from weights.foreign_code import NO_CODE, reason_of
from weights.llava import fill_llava, read_llava
from weights.registry import EMBEDDED, embedded, lookup_chat

__all__ = ["default_template", "load_chat", "load_chat_tokenizer"]

TEMPLATES = {"mistral": "mistral_instruct", "mpt": "mpt"}
"""By the type of the language model; vicuna_v1 for all others."""
LLAMA_CLASSES = ("LlamaTokenizer", "LlamaTokenizerFast")
LLAMA_ENDS = ("<s>", "</s>")  # 1 and 2 of Llama's, Vicuna's and Mistral's vocabulary


def load_chat(
    source: str | Path,
    *,
    base: str | Path | None = None,
    template: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | Callable[[int], torch.dtype] | None = None,
    bits: Bits | None = None,
    offline: bool = False,
) -> Chat:
    """Load a LLaVA with its tokenizer.

    Args:
        source: "embedded", a folder, a short name of `weights.registry.CHATS` or a hub id.
        base: What a LoRA or a projector alone is put upon.
        template: How it is spoken to; None: as its config or the registry says, else as LLaVAs upon
            its language model are.
        device: Where it is to be.
        dtype: Of its parameters, or what says it of their number; None: as stored.
        bits: 4 or 8 for a language model in so many bits a weight, through bitsandbytes.
        offline: Never use the network.

    Raises:
        LavallamaError: Any of this cannot be had, in one line.
    """
    if source == EMBEDDED:
        source = embedded("llava")
    known = lookup_chat(str(source))
    files = read_llava(source, base=base, offline=offline)
    own = files.config.template or (known.template if known is not None else None)
    chosen = find_template(template or own or default_template(files.config.text.model_type))
    tokenizer = load_chat_tokenizer(files.folder)
    model = fill_llava(files, dtype=dtype)
    if bits is not None:
        quantize(model, bits)
    return Chat(model.to(device), tokenizer, chosen)


def default_template(model_type: str) -> str:
    """Return the template that models upon a type of language model were trained with."""
    return TEMPLATES.get(model_type, "vicuna_v1")


def load_chat_tokenizer(folder: Path) -> Any:
    """Load a language model's tokenizer, from files alone.

    What reads Llama's vocabulary was trained on texts that open with `<s>`. transformers 4 opens
    them so unless the config says `"add_bos_token": false`; transformers 5 opens them only if it
    says `true`, and what it then saves has lost the opening, so it is given back here.

    Raises:
        CheckpointError: There is none.
    """
    try:
        reader = _reader_of(folder)
        tokenizer: Any = reader.from_pretrained(folder, local_files_only=True, **NO_CODE)
        if _lacks_opening(tokenizer, folder):
            tokenizer.add_bos_token = True
    except Exception as error:  # tokenizers raise bare Exceptions
        raise CheckpointError(
            f"{folder}: has no tokenizer that can be read: {reason_of(error)}"
        ) from error
    return tokenizer


def _reader_of(folder: Path) -> Any:
    """The class of transformers that reads a folder's tokenizer.

    Where there is only Llama's SentencePiece model it is Llama's: most versions of transformers 5
    choose by the type of the whole model, and read that of a LLaVA as another kind of vocabulary.
    """
    from transformers import AutoTokenizer, LlamaTokenizer

    named = str(_said(folder).get("tokenizer_class"))
    alone = (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file()
    return LlamaTokenizer if alone and named in LLAMA_CLASSES else AutoTokenizer


def _said(folder: Path) -> dict[str, Any]:
    """What a folder says about its tokenizer."""
    path = folder / "tokenizer_config.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _lacks_opening(tokenizer: Any, folder: Path) -> bool:
    """Whether texts should open with the token for it, and do not."""
    ends = tokenizer.bos_token, tokenizer.eos_token
    if ends != LLAMA_ENDS or tokenizer.convert_tokens_to_ids(list(ends)) != [1, 2]:
        return False
    return _said(folder).get("add_bos_token") is None and tokenizer("a")["input_ids"][:1] != [1]
