"""Layouts of LLaVA, on models of a few thousand parameters."""

import json

import pytest
import torch
from safetensors.torch import load, load_file, save_file
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
)

from grounding.errors import CheckpointError, OutputError
from grounding.llava.conversation import Conversation
from grounding.llava.model import build_llava
from tests.grounding.llava import tiny
from tests.weights.llava_folders import (
    LAYOUTS,
    QUESTION,
    SHORT,
    original,
    written,
)
from tests.weights.tiny import same
from weights.llava import fill_llava, llava_state, read_llava, write_llava
from weights.llava_chat import default_template, load_chat

VERSIONS = ("v1", "v1.5", "next")
WORDS = tiny.tokenizer()


@pytest.mark.parametrize(
    ("version", "dtype"),
    [("v1", torch.float16), ("v1.5", torch.float32), ("next", torch.bfloat16)],
)
def test_layouts_round_trip_bit_for_bit(tmp_path, version, dtype):
    model = tiny.llava(version).to(dtype)
    state = llava_state(model)
    first = written(model, tmp_path / "a", "original")
    one = read_llava(first)
    assert same(one.state, state)
    second = write_llava(one.state, one.config, tmp_path / "b", layout="transformers")
    other = read_llava(second)
    assert same(other.state, state)
    third = write_llava(other.state, other.config, tmp_path / "c", layout="original")
    assert (third / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
    assert json.loads((third / "config.json").read_text()) == json.loads(
        (first / "config.json").read_text()
    )
    fourth = write_llava(
        read_llava(third).state, other.config, tmp_path / "d", layout="transformers"
    )
    for name in ("model.safetensors", "config.json"):
        assert (fourth / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_original_file_has_the_original_names(tmp_path, version):
    model = tiny.llava(version)
    folder = written(model, tmp_path / "a", "original")
    assert same(load_file(folder / "model.safetensors"), original(model))
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlavaLlamaForCausalLM"]
    assert config["mm_projector_type"] == model.config.projector
    assert ("image_grid_pinpoints" in config) == (version == "next")


@pytest.mark.parametrize("version", VERSIONS)
@torch.no_grad()
def test_transformers_opens_its_layout_and_computes_the_same(tmp_path, version):
    model = tiny.llava(version)
    folder = written(model, tmp_path / "a", "transformers", tokenizer=tiny.tokenizer())
    kind = LlavaNextForConditionalGeneration if version == "next" else LlavaForConditionalGeneration
    theirs, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys"))
    token = theirs.config.image_token_id
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_tokens_to_ids("<image>") == token == len(tiny.tokenizer())
    assert theirs.get_input_embeddings().weight.shape[0] % 64 == 0
    size = (40, 30)
    pixels = model.config.reader(tiny.picture(*size))
    ids = torch.tensor([[4, 5, *[token] * model.config.tokens(size), 6]])
    given = {"pixel_values": pixels.values}
    if version == "next":
        given = {"pixel_values": pixels.values[None], "image_sizes": torch.tensor([[30, 40]])}
    expected = theirs.eval()(input_ids=ids, **given).logits[..., : tiny.WORDS]
    words = model.embedding(torch.tensor([4, 5, 6]))
    words = torch.cat([words[:2], model.see(pixels), words[2:]])
    mine = model.language_model(inputs_embeds=words[None]).logits
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_transformers_processors_and_generate_answer_the_same(tmp_path, version):
    model = tiny.llava(version)
    folder = written(model, tmp_path / "a", "transformers", tokenizer=tiny.tokenizer())
    kind = LlavaNextForConditionalGeneration if version == "next" else LlavaForConditionalGeneration
    processor = AutoProcessor.from_pretrained(folder)
    speaker = load_chat(folder)
    inputs = processor(
        images=QUESTION.pictures[0], text=speaker.template.render(QUESTION), return_tensors="pt"
    )
    made = kind.from_pretrained(folder).generate(**inputs, max_new_tokens=8, do_sample=False)
    said = made[0, inputs.input_ids.shape[1] :]
    text = processor.tokenizer.decode(said, skip_special_tokens=True)
    assert speaker.answer(QUESTION, SHORT) == text.strip()


def test_fenced_pictures_are_those_of_the_first_llava(tmp_path):
    model = tiny.llava("v1", fenced=True)
    for layout in LAYOUTS:
        files = read_llava(written(model, tmp_path / layout, layout))
        assert files.config.fenced
    plain = load_chat(written(tiny.llava("v1"), tmp_path / "b", "original", tokenizer=WORDS))
    fenced = load_chat(written(model, tmp_path / "c", "original", tokenizer=WORDS))
    lengths = [len(speaker._prompt(QUESTION)) for speaker in (plain, fenced)]
    assert lengths[1] == lengths[0] + len("<im_start><im_end>")  # a token a letter here


def test_what_transformers_writes_is_read(tmp_path):
    model = tiny.llava("next")
    folder = written(model, tmp_path / "a", "transformers")
    theirs = LlavaNextForConditionalGeneration.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "b")
    assert same(read_llava(tmp_path / "b").state, llava_state(model))
    save_file(
        {key: value.contiguous() for key, value in theirs.state_dict().items()},
        tmp_path / "b" / "model.safetensors",
    )  # names as in memory, which versions since 4.52 may write
    assert same(read_llava(tmp_path / "b").state, llava_state(model))


def test_the_token_of_a_published_model_keeps_its_row(tmp_path):
    model = tiny.llava(image_token=tiny.WORDS - 1)
    one = read_llava(written(model, tmp_path / "a", "transformers"))
    assert one.config.image_token == tiny.WORDS - 1
    other = read_llava(write_llava(one.state, one.config, tmp_path / "b", layout="original"))
    assert other.config.image_token == tiny.WORDS - 1
    assert same(other.state, llava_state(model))


@pytest.mark.parametrize("kind", ["llama", "mpt", "gpt2", "phi3", "qwen2", "mistral"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_language_model(tmp_path, kind, layout):
    model = tiny.llava(kind=kind)
    if layout == "transformers" and kind in ("mpt", "gpt2"):
        with pytest.raises(CheckpointError, match="use layout 'original'"):
            written(model, tmp_path / "a", layout)
        return
    files = read_llava(written(model, tmp_path / "a", layout))
    assert files.config.text.model_type == kind
    assert same(files.state, llava_state(model))
    other = fill_llava(files)
    assert same(llava_state(other), llava_state(model))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tied_words_are_written_once(tmp_path, layout):
    model = tiny.llava(kind="qwen2")
    config = tiny.config()
    text = tiny.text("qwen2", tie_word_embeddings=True)
    model = build_llava(tiny.LlavaConfig(vision=config.vision, text=text))
    folder = written(model, tmp_path / "a", layout)
    assert not any("lm_head" in key for key in load_file(folder / "model.safetensors"))
    other = fill_llava(read_llava(folder))
    assert same(llava_state(other), llava_state(model))
    head = other.language_model.get_output_embeddings()
    assert head.weight is other.language_model.get_input_embeddings().weight


@pytest.mark.parametrize("projector", ["linear", "mlp1x_gelu", "mlp3x_gelu", "identity"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_projectors(tmp_path, projector, layout):
    model = tiny.llava(projector=projector)
    if (layout, projector) == ("transformers", "mlp3x_gelu"):
        with pytest.raises(CheckpointError, match="cannot hold the projector mlp3x_gelu"):
            written(model, tmp_path / "a", layout)
        return
    files = read_llava(written(model, tmp_path / "a", layout))
    assert files.config.projector == projector
    assert same(files.state, llava_state(model))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reading_is_strict(tmp_path, layout):
    model = tiny.llava()
    folder = written(model, tmp_path / "a", layout)
    path = folder / "model.safetensors"
    state = load(path.read_bytes())  # no part of a file that is written over
    key = next(key for key in state if key.endswith("layers.1.mlp.up_proj.weight"))
    for change, problem in (
        ({key: None}, "missing language_model.model.layers.1.mlp.up_proj.weight"),
        ({"model.resampler.query": torch.zeros(1)}, "unknown"),
        ({key: torch.zeros(2, 2)}, "has shape"),
    ):
        changed = {name: t for name, t in (state | change).items() if t is not None}
        save_file(changed, path)
        with pytest.raises(CheckpointError, match=problem):
            read_llava(folder)


def test_pickles_are_read_as_data(tmp_path):
    model = tiny.llava()
    folder = written(model, tmp_path / "a", "original")
    (folder / "model.safetensors").unlink()
    buffers = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)}
    torch.save(original(model) | buffers, folder / "pytorch_model.bin")
    assert same(read_llava(folder).state, llava_state(model))
    torch.save({"model": Conversation}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="nothing was executed"):
        read_llava(folder)


def test_a_model_can_say_how_it_is_spoken_to(tmp_path):
    model = tiny.llava(template="chatml_direct")
    for layout in LAYOUTS:
        folder = written(model, tmp_path / layout, layout, tokenizer=WORDS)
        assert load_chat(folder).template.name == "chatml_direct"
        assert load_chat(folder, template="mpt").template.name == "mpt"
    assert not (tmp_path / "original" / "preprocessor_config.json").exists()


def test_writing_is_all_or_nothing(tmp_path):
    model = tiny.llava()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a folder"):
        written(model, tmp_path / "file", "original")
    with pytest.raises(CheckpointError, match="expected a layout"):
        written(model, tmp_path / "a", "gguf")
    state = llava_state(model)
    state.pop("projector.0.weight")
    with pytest.raises(CheckpointError, match="missing projector"):
        write_llava(state, model.config, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_loaded_model_answers_as_the_saved_one(tmp_path, layout):
    model = tiny.llava("next")
    folder = written(model, tmp_path / "a", layout, tokenizer=tiny.tokenizer())
    speaker = load_chat(folder)
    assert speaker.template.name == "vicuna_v1"
    assert speaker.answer(QUESTION, SHORT) == load_chat(folder).answer(QUESTION, SHORT)
    half = load_chat(folder, dtype=torch.bfloat16, template="mpt")
    assert next(half.model.parameters()).dtype == torch.bfloat16
    assert half.answer(QUESTION, SHORT)
    assert default_template("mistral") == "mistral_instruct"
