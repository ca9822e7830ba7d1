from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from grounding.errors import CheckpointError, PromptError
from pipelines.generation.companions.embedding import Embedding
from pipelines.generation.generator import Generator
from pipelines.generation.text import TextReader
from tests.pipelines.conftest import WIDTH


@pytest.fixture
def load(model_folder: Path):
    return lambda *names: Generator.from_pretrained(model_folder, device="cpu", embeddings=names)


def reader(generator: Generator) -> TextReader:
    return TextReader.of(generator.base, generator.company.spelled)


def quiet(message: str) -> None:
    raise AssertionError(message)


def vectors(count: int = 2) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(41))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The same two vectors in each layout."""
    save_file({"<toy>": vectors()}, tmp_path / "diffusers.safetensors")
    torch.save({"<toy>": vectors()}, tmp_path / "diffusers.bin")
    save_file({"emb_params": vectors()}, tmp_path / "civitai.safetensors")
    torch.save(
        {
            "string_to_token": {"*": torch.tensor(265)},
            "string_to_param": {"*": vectors()},
            "name": "<toy>",
            "step": 1000,
        },
        tmp_path / "a1111.pt",
    )
    original = nn.ParameterDict({"*": nn.Parameter(vectors())})
    torch.save(
        {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": original},
        tmp_path / "original.pt",
    )
    save_file({"clip_l": vectors()}, tmp_path / "comfy.safetensors")
    return {
        "original": f"{tmp_path / 'original.pt'}=<toy>",
        "comfy": f"{tmp_path / 'comfy.safetensors'}=<toy>",
        "diffusers": str(tmp_path / "diffusers.safetensors"),
        "pickle": str(tmp_path / "diffusers.bin"),
        "civitai": f"{tmp_path / 'civitai.safetensors'}=<toy>",
        "a1111": str(tmp_path / "a1111.pt"),
    }


def test_every_layout_is_the_same_word(load, files):
    found = {}
    for layout, name in files.items():
        generator = load(name)
        assert generator.company.embeddings[0].word == "<toy>"
        words = reader(generator)
        assert generator.company.spelled("a <toy>, a <TOY>") == "a <toy> <toy>_1, a <toy> <toy>_1"
        found[layout] = words.prompt("a <toy>", quiet, (8, 8)).context
        rows = generator.base.tokenizer("a <toy> <toy>_1").input_ids[2:4]
        table = generator.base.text_encoder.get_input_embeddings().weight
        assert torch.equal(table[rows], vectors())
        assert len(set(rows)) == 2
    assert len({tuple(context.flatten().tolist()) for context in found.values()}) == 1


def test_other_words_mean_what_they_did(load, files):
    plain, more = reader(load()), reader(load(files["diffusers"]))
    for text in ("a llama", "toy", "<toys>", "a<toy>b"):
        assert torch.equal(
            plain.prompt(text, quiet, (8, 8)).context, more.prompt(text, quiet, (8, 8)).context
        ), text
    assert not torch.equal(plain.phrase("<toy>", quiet), more.phrase("<toy>", quiet))


def test_a_phrase_still_ends_at_its_end_in_old_configs(load, files, model_folder):
    """Configs from before transformers 4.31 end a text with its largest id: now the new word's."""
    old, new = load(), load(files["diffusers"])
    encoder = old.base.text_encoder
    encoder.config.eos_token_id = 2
    getattr(encoder, "text_model", encoder).eos_token_id = 2
    expected = reader(new).phrase("a <toy>", quiet)
    new.company.embeddings[0]
    legacy = load()
    encoder = legacy.base.text_encoder
    encoder.config.eos_token_id = 2
    getattr(encoder, "text_model", encoder).eos_token_id = 2
    new.company.embeddings[0].attach(legacy.base)
    words = TextReader.of(legacy.base, new.company.spelled)
    assert torch.equal(words.phrase("a <toy>", quiet), expected)


@pytest.mark.parametrize(
    "names", [("clip_l", "clip_g"), ("clip_g", "clip_l"), ("text_encoders_0", "text_encoders_1")]
)
def test_a_word_for_two_text_encoders(names, tmp_path):
    """Those of SDXL, in whatever order the file has them."""
    first, second = torch.randn(2, 4), torch.randn(2, 6)
    state = {name: second if name.endswith(("g", "1")) else first for name in names}
    save_file(state, tmp_path / "toy.safetensors")
    encoders = [SimpleNamespace(config=SimpleNamespace(hidden_size=width)) for width in (4, 6)]
    base = SimpleNamespace(
        tokenizer=None, tokenizer_2=None, text_encoder=encoders[0], text_encoder_2=encoders[1]
    )
    embedding = Embedding.load(str(tmp_path / "toy.safetensors"), base)
    assert embedding.word == "toy"
    assert torch.equal(embedding.vectors[0], first)
    assert torch.equal(embedding.vectors[1], second)
    base.text_encoder_2 = None
    with pytest.raises(CheckpointError, match="channels"):
        Embedding.load(str(tmp_path / "toy.safetensors"), base)


def test_files_that_do_not_serve(load, tmp_path, files):
    def written(state):
        save_file(state, tmp_path / "bad.safetensors")
        return str(tmp_path / "bad.safetensors")

    for state, said in (
        ({"<x>": torch.zeros(2, WIDTH + 1)}, "channels"),
        ({"<x>": torch.zeros(2, 2, WIDTH)}, "1 to 75 vectors"),
        ({"<x>": torch.zeros(76, WIDTH)}, "1 to 75 vectors"),
        ({"a": torch.zeros(WIDTH), "b": torch.zeros(WIDTH)}, "expected one tensor"),
        ({"clip_l": torch.zeros(1, WIDTH), "clip_g": torch.zeros(1, 4)}, "channels"),
        (
            {"clip_l": torch.zeros(1, 768), "clip_g": torch.zeros(1, 1280)},
            "for Stable Diffusion XL",
        ),
        ({"<x>": torch.zeros(1, 1024)}, "for Stable Diffusion 2.x"),
        ({f"string_to_param.{word}": torch.zeros(1, WIDTH) for word in "ab"}, "several words"),
        (
            {f"lora_te_text_model_x.lora_{s}.weight": torch.zeros(1, 2) for s in ("up", "down")},
            "got a LoRA for Stable Diffusion",
        ),
    ):
        with pytest.raises(CheckpointError, match=said):
            load(written(state))
    with pytest.raises(PromptError, match="is one word"):
        load(f"{written({'<x>': torch.zeros(1, WIDTH)})}=two words")
    with pytest.raises(CheckpointError, match="knows the word"):
        load(files["diffusers"], files["a1111"])
    torch.save({"x": eval}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="refused, nothing was executed"):
        load(str(tmp_path / "code.pt"))
