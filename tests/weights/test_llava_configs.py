"""Configs of LLaVA: published ones, impossible ones, spoilt ones."""

import json

import pytest

from grounding.errors import CheckpointError, LavallamaError
from tests.grounding.llava import tiny
from tests.weights.llava_folders import (
    edit,
    language_model,
    written,
)
from tests.weights.tiny import same
from weights import llava_config
from weights.llava import llava_state, read_llava


def test_a_config_that_says_llava_is_not_opened_with_default_sizes(tmp_path):
    model = tiny.llava("v1")
    folder = written(model, tmp_path / "llava-hf", "original")
    edit(folder, model_type="llava", mm_projector_type=None, image_aspect_ratio=None)
    files = read_llava(folder)
    assert files.config.text.hidden_size == tiny.WIDTH
    assert (files.config.projector, files.config.aspect) == ("linear", "square")
    assert same(files.state, llava_state(model))


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
