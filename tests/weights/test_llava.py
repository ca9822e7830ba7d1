"""Layouts of LLaVA, on models of a few thousand parameters."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionModel,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
)
from transformers import CLIPConfig as WholeClipConfig

from grounding.errors import CheckpointError, LavallamaError, OutputError
from grounding.llava.conversation import Conversation
from grounding.llava.decoding import Decoding
from grounding.llava.model import Llava, build_llava
from tests.grounding.llava import tiny
from tests.weights.tiny import same
from weights import llava_config
from weights.llava import fill_llava, llava_state, read_llava, write_llava
from weights.llava_chat import default_template, load_chat

VERSIONS = ("v1", "v1.5", "next")
LAYOUTS = ("original", "transformers")
WORDS = tiny.tokenizer()
BASE = "base_model.model."  # peft
QUESTION = Conversation.of("What is it?", [tiny.picture(40, 30)])
SHORT = Decoding(max_tokens=8)


def written(model: Llava, folder: Path, layout: str, **more) -> Path:
    return write_llava(llava_state(model), model.config, folder, layout=layout, **more)


def original(model: Llava) -> dict[str, Tensor]:
    """Original names, independently of the table under test."""
    state = {}
    for key, tensor in llava_state(model).items():
        if key.startswith("language_model."):
            state[key.removeprefix("language_model.")] = tensor
        elif key.startswith("vision_tower."):
            rest = key.removeprefix("vision_tower.")
            state[f"model.vision_tower.vision_tower.vision_model.{rest}"] = tensor
        elif key.startswith("projector."):
            state[f"model.mm_{key}"] = tensor
        else:
            state[f"model.{key}"] = tensor
    return state


def edit(folder: Path, **changes) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: v for key, v in config.items() if v is not None}))


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
    text = processor.tokenizer.decode(made[0, inputs.input_ids.shape[1] :])
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


def test_a_config_that_says_llava_is_not_opened_with_default_sizes(tmp_path):
    model = tiny.llava("v1")
    folder = written(model, tmp_path / "llava-hf", "original")
    edit(folder, model_type="llava", mm_projector_type=None, image_aspect_ratio=None)
    files = read_llava(folder)
    assert files.config.text.hidden_size == tiny.WIDTH
    assert (files.config.projector, files.config.aspect) == ("linear", "square")
    assert same(files.state, llava_state(model))


def tower_folder(model: Llava, folder: Path, *, whole: bool) -> Path:
    """A vision tower by itself, or inside a CLIP with words."""
    vision = model.config.vision
    if whole:
        text = CLIPTextConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
            vocab_size=50,
        )  # fmt: skip
        clip = CLIPModel(
            WholeClipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
        )
        inner = clip.vision_model
    else:
        clip = inner = CLIPVisionModel(vision)
    inner.load_state_dict(model.vision_tower.state_dict())
    clip.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("whole", [True, False])
def test_a_tower_apart_is_found(tmp_path, whole):
    model = tiny.llava()
    folder = written(model, tmp_path / "a", "original")
    state = original(model)
    save_file(
        {key: t.contiguous() for key, t in state.items() if "vision_tower" not in key},
        folder / "model.safetensors",
    )
    tower = tower_folder(model, tmp_path / "clip", whole=whole)
    edit(folder, mm_vision_config=None, mm_vision_tower=str(tower))
    assert same(read_llava(folder).state, llava_state(model))
    edit(folder, mm_vision_tower=str(tmp_path / "elsewhere"))
    assert same(read_llava(folder, vision_tower=tower).state, llava_state(model))


def language_model(model: Llava, folder: Path) -> Path:
    inner = model.language_model
    assert isinstance(inner, LlamaForCausalLM)
    inner.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def stage_1(model: Llava, folder: Path, tower: Path) -> Path:
    """What the first stage of training leaves: a projector and a config."""
    written(model, folder, "original")
    (folder / "model.safetensors").unlink()
    edit(folder, mm_vision_config=None, mm_vision_tower=str(tower))
    torch.save(
        {key: t for key, t in original(model).items() if "mm_projector" in key},
        folder / "mm_projector.bin",
    )
    return folder


@pytest.mark.parametrize("version", ["v1", "v1.5"])
def test_a_projector_alone_is_put_upon_its_language_model(tmp_path, version):
    model = tiny.llava(version)
    tower = tower_folder(model, tmp_path / "clip", whole=False)
    folder = stage_1(model, tmp_path / "stage1", tower)
    base = language_model(model, tmp_path / "vicuna")
    for source in (folder, folder / "mm_projector.bin"):
        assert same(read_llava(source, base=base).state, llava_state(model))
    with pytest.raises(CheckpointError, match="name what it was trained on"):
        read_llava(folder)
    speaker = load_chat(folder, base=base)  # with the base's tokenizer
    assert speaker.answer(QUESTION, SHORT)


def trained(model: Llava, folder: Path, layout: str, **config) -> dict[str, Tensor]:
    """Write a LoRA with random factors; return what it must become."""
    generator = torch.Generator().manual_seed(0)
    state, factors = llava_state(model), {}
    expected = dict(state)
    for key in list(state):
        if not key.endswith(("q_proj.weight", "up_proj.weight")) or "language" not in key:
            continue
        rank = 4
        down = torch.randn(rank, state[key].shape[1], generator=generator)
        up = torch.randn(state[key].shape[0], rank, generator=generator)
        name = key.removesuffix(".weight")
        if layout == "original":
            name = name.removeprefix("language_model.")
        else:
            name = name.replace("language_model.model.", "model.language_model.")
        factors[f"{BASE}{name}.lora_A.weight"] = down
        factors[f"{BASE}{name}.lora_B.weight"] = up
        expected[key] = state[key] + config.get("scale", 2.0) * (up @ down)
    projector = {"projector.0.weight": torch.randn(32, 32, generator=generator)}
    expected |= projector
    folder.mkdir()
    if layout == "original":
        beside = {f"{BASE}model.mm_projector.0.weight": projector["projector.0.weight"]}
        torch.save(beside, folder / "non_lora_trainables.bin")
    else:
        name = "model.multi_modal_projector.linear_1.weight"
        factors[BASE + name] = projector["projector.0.weight"]
    save_file(factors, folder / "adapter_model.safetensors")
    text = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}
    text.pop("scale", None)
    (folder / "adapter_config.json").write_text(json.dumps(text))
    return expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lora_is_merged(tmp_path, layout):
    model = tiny.llava()
    base = written(model, tmp_path / "base", layout, tokenizer=tiny.tokenizer())
    expected = trained(model, tmp_path / "lora", layout)
    files = read_llava(tmp_path / "lora", base=base)
    assert same(files.state, expected)
    for other in LAYOUTS:  # and goes on as any other model
        folder = write_llava(files.state, files.config, tmp_path / other, layout=other)
        assert same(read_llava(folder).state, expected)


def test_a_lora_upon_a_bare_language_model(tmp_path):
    model = tiny.llava()
    base = language_model(model, tmp_path / "vicuna")
    tower = tower_folder(model, tmp_path / "clip", whole=False)
    expected = trained(
        model, tmp_path / "lora", "original", base_model_name_or_path=str(base), scale=2.0
    )
    folder = tmp_path / "lora"
    projector = {f"{BASE}{key}": t for key, t in original(model).items() if "mm_projector" in key}
    projector[f"{BASE}model.mm_projector.0.weight"] = expected["projector.0.weight"]
    torch.save(projector, folder / "non_lora_trainables.bin")
    written(model, tmp_path / "full", "original")
    (folder / "config.json").write_bytes((tmp_path / "full" / "config.json").read_bytes())
    edit(folder, mm_vision_config=None, mm_vision_tower=str(tower))
    assert same(read_llava(folder).state, expected)


# peft's own question of the model
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_lora_is_merged_as_peft_does(tmp_path):
    peft = pytest.importorskip("peft")
    model = tiny.llava().language_model
    config = peft.LoraConfig(
        r=4, lora_alpha=16, target_modules=["q_proj"], use_rslora=True, init_lora_weights=False
    )
    whole = tiny.llava()
    base = written(whole, tmp_path / "base", "original")
    tuned = peft.get_peft_model(model, config)
    tuned.save_pretrained(tmp_path / "lora")
    files = read_llava(tmp_path / "lora", base=base)
    merged = tuned.merge_and_unload().state_dict()
    for key, tensor in merged.items():
        torch.testing.assert_close(files.state[f"language_model.{key}"], tensor)
    assert not same(files.state, llava_state(whole))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"use_dora": True}, "only plain LoRA"),
        ({"peft_type": "IA3"}, "config of a LoRA"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
    ],
)
def test_other_adapters_are_refused(tmp_path, config, problem):
    model = tiny.llava()
    base = written(model, tmp_path / "base", "original")
    trained(model, tmp_path / "lora", "original", **config)
    with pytest.raises(CheckpointError, match=problem):
        read_llava(tmp_path / "lora", base=base)


def test_a_lora_of_another_model_is_refused(tmp_path):
    base = written(tiny.llava(), tmp_path / "base", "original")
    trained(tiny.llava(), tmp_path / "lora", "original")
    other = {f"{BASE}model.layers.9.self_attn.q_proj.lora_A.weight": torch.zeros(4, 32)}
    save_file(other, tmp_path / "lora" / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.9\.self_attn\.q_proj is no layer"):
        read_llava(tmp_path / "lora", base=base)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reading_is_strict(tmp_path, layout):
    model = tiny.llava()
    folder = written(model, tmp_path / "a", layout)
    path = folder / "model.safetensors"
    state = load_file(path)
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


def test_configs_and_weights_must_belong_together(tmp_path):
    model = tiny.llava("v1")
    one = written(model, tmp_path / "a", "original")
    other = written(model, tmp_path / "b", "transformers")
    weights = (one / "model.safetensors").read_bytes()
    (one / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="do not belong together"):
        read_llava(one)
    edit(other, mm_projector_type="identity")
    with pytest.raises(CheckpointError, match="its weights do not"):
        read_llava(other)
    (other / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match="do not belong together"):
        read_llava(other)


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


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mm_patch_merge_type": "flat"}, "spatial_unpad"),
        ({"image_aspect_ratio": "wide"}, "image_aspect_ratio"),
        ({"image_grid_pinpoints": "__import__('os')"}, "image_grid_pinpoints"),
        ({"mm_vision_select_feature": "cls"}, "mm_vision_select_feature"),
        ({"architectures": ["LlavaNosuchForCausalLM"]}, "no language model Nosuch"),
        ({"architectures": None}, "architectures like"),
        ({"mm_projector_type": "resampler"}, "expected a projector"),
        ({"hidden_size": "many"}, "cannot be made of its config"),
    ],
)
def test_impossible_configs_are_refused(tmp_path, changes, problem):
    folder = written(tiny.llava("next"), tmp_path / "a", "original")
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=problem):
        read_llava(folder)


def test_pinpoints_as_text_are_parsed(tmp_path):
    folder = written(tiny.llava("next"), tmp_path / "a", "original")
    edit(folder, image_grid_pinpoints="[(28, 56), (84, 28)]")
    assert read_llava(folder).config.pinpoints == ((28, 56), (84, 28))


V1_5 = {  # as of liuhaotian/llava-v1.5-7b; the trap is its model_type
    "architectures": ["LlavaLlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
    "freeze_mm_mlp_adapter": False, "freeze_mm_vision_resampler": False, "hidden_act": "silu",
    "hidden_size": 4096, "image_aspect_ratio": "pad", "initializer_range": 0.02,
    "intermediate_size": 11008, "max_length": 4096, "max_position_embeddings": 4096,
    "mm_hidden_size": 1024, "mm_projector_type": "mlp2x_gelu", "mm_resampler_type": None,
    "mm_use_im_patch_token": False, "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336", "model_type": "llava",
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
    "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None,
    "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.31.0",
    "tune_mm_mlp_adapter": False, "tune_mm_vision_resampler": False,
    "unfreeze_mm_vision_tower": False, "use_cache": True, "use_mm_proj": True, "vocab_size": 32000,
}  # fmt: skip
NEXT = V1_5 | {
    "architectures": ["LlavaMistralForCausalLM"], "model_type": "llava_mistral",
    "image_aspect_ratio": "anyres", "image_crop_resolution": 224, "image_split_resolution": 224,
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "intermediate_size": 14336, "max_position_embeddings": 32768, "num_key_value_heads": 8,
    "mm_patch_merge_type": "spatial_unpad", "mm_vision_tower_lr": 2e-06, "rope_theta": 1000000.0,
    "sliding_window": None, "tokenizer_model_max_length": 4096, "tokenizer_padding_side": "right",
}  # fmt: skip


def test_published_configs_are_understood():
    vision = llava_config.vision_config(
        llava_config.KNOWN_TOWERS["openai/clip-vit-large-patch14-336"], "here"
    )
    config = llava_config.read_original(V1_5, vision, "here")
    assert (config.text.model_type, config.text.num_hidden_layers) == ("llama", 32)
    assert (config.aspect, config.projector, config.tokens((640, 480))) == (
        "pad",
        "mlp2x_gelu",
        576,
    )
    config = llava_config.read_original(NEXT, vision, "here")
    assert (config.text.model_type, config.text.num_key_value_heads) == ("mistral", 8)
    assert [config.tokens(size) for size in ((640, 480), (336, 336), (1000, 300))] == [
        2340, 1176, 2182,
    ]  # fmt: skip
    hf = {
        "architectures": ["LlavaForConditionalGeneration"], "model_type": "llava",
        "ignore_index": -100, "image_token_index": 32000, "pad_token_id": 32001,
        "projector_hidden_act": "gelu", "torch_dtype": "float16", "vocab_size": 32064,
        "text_config": {"model_type": "llama", "rms_norm_eps": 1e-05, "torch_dtype": "float16",
                        "max_position_embeddings": 4096, "vocab_size": 32064},
        "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024,
                          "image_size": 336, "intermediate_size": 4096, "num_hidden_layers": 24,
                          "num_attention_heads": 16, "patch_size": 14, "projection_dim": 768},
        "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
    }  # fmt: skip
    config = llava_config.read_transformers(hf, "here")
    assert (config.text.vocab_size, config.image_token) == (32064, 32000)
    assert (config.aspect, config.projector, config.tokens((9, 9))) == ("pad", "mlp2x_gelu", 576)


SPOILT = [
    ("original", {"mm_vision_select_layer": "last"}),
    ("original", {"mm_vision_select_layer": 9}),
    ("original", {"mm_vision_config": {"image_size": []}}),
    ("original", {"mm_projector_type": 5}),
    ("original", {"rope_parameters": {"rope_type": 82, "rope_theta": 1.0}}),
    ("original", {"num_attention_heads": 0}),
    ("original", {"architectures": [["x"]]}),
    ("original", {"image_grid_pinpoints": [[1, "x"]]}),
    ("transformers", {"vision_config": "clip"}),
    ("transformers", {"text_config": [1]}),
    ("transformers", {"image_grid_pinpoints": 7}),
    ("transformers", {"unpadded_vocab_size": "many"}),
    ("transformers", {"vision_feature_layer": None}),
    ("transformers", {"architectures": {}}),
]


@pytest.mark.parametrize(("layout", "changes"), SPOILT)
def test_spoilt_configs_raise_nothing_but_our_own_error(tmp_path, layout, changes):
    folder = written(tiny.llava("next"), tmp_path / "a", layout)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    if changes == {"architectures": {}}:  # model_type and the parts say enough
        assert read_llava(folder).config.aspect == "anyres"
        return
    with pytest.raises(CheckpointError) as caught:
        read_llava(folder, offline=True)
    assert "\n" not in str(caught.value)


def test_parts_of_different_types_work_together(tmp_path):
    model = tiny.llava()
    tower = tower_folder(model, tmp_path / "clip", whole=False)
    folder = stage_1(model, tmp_path / "stage1", tower)
    base = language_model(tiny.llava().to(torch.bfloat16), tmp_path / "vicuna")
    speaker = load_chat(folder, base=base)
    types = {parameter.dtype for parameter in speaker.model.parameters()}
    assert types == {torch.float32, torch.bfloat16}
    assert speaker.answer(QUESTION, SHORT)


def test_a_model_can_say_how_it_is_spoken_to(tmp_path):
    model = tiny.llava(template="chatml_direct")
    for layout in LAYOUTS:
        folder = written(model, tmp_path / layout, layout, tokenizer=WORDS)
        assert load_chat(folder).template.name == "chatml_direct"
        assert load_chat(folder, template="mpt").template.name == "mpt"
    assert not (tmp_path / "original" / "preprocessor_config.json").exists()


def test_what_is_no_llava_is_refused(tmp_path):
    with pytest.raises(LavallamaError):
        read_llava(tmp_path / "nothing here")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="expected a model"):
        read_llava(tmp_path / "empty")
    language_model(tiny.llava(), tmp_path / "lm")
    with pytest.raises(CheckpointError, match="expected a LLaVA"):
        read_llava(tmp_path / "lm")
    (tmp_path / "lm" / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="expected a JSON object"):
        read_llava(tmp_path / "lm")


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
