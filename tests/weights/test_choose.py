"""Listings are those of real repositories; sizes in megabytes where only their ratio counts."""

import pytest

from weights import choose

UNET = "unet/diffusion_pytorch_model"
SD = [
    "README.md",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "unet/config.json",
    f"{UNET}.bin",
    f"{UNET}.safetensors",
    f"{UNET}.fp16.safetensors",
    f"{UNET}.non_ema.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.bin",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "safety_checker/model.safetensors",
    "v1-5-pruned.ckpt",
]


def shards(stem, count, ending=".safetensors"):
    return [f"{stem}-{n:05}-of-{count:05}{ending}" for n in range(1, count + 1)]


@pytest.mark.parametrize(
    ("half", "unet"), [(False, f"{UNET}.safetensors"), (True, f"{UNET}.fp16.safetensors")]
)
def test_a_pipeline_s_files_are_one_set_each(half, unet):
    assert sorted(choose.choose_base(SD, half=half)) == sorted(
        [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "tokenizer/vocab.json",
            "tokenizer/merges.txt",
            "unet/config.json",
            unet,
            "vae/config.json",
            "vae/diffusion_pytorch_model.bin",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
        ]
    )


def test_what_a_pipeline_lacks_is_named():
    here = ["model_index.json", "unet/config.json", "text_encoder/config.json"]
    assert set(choose.choose_base(here)) - set(here) == {
        f"{UNET}.safetensors",
        "vae/config.json",
        "text_encoder/model.safetensors",
    }


def test_parts_of_a_pipeline_and_parts_alone():
    assert choose.choose_vae(SD) == ["vae/config.json", "vae/diffusion_pytorch_model.bin"]
    words = ["tokenizer/vocab.json", "tokenizer/merges.txt"]
    text = ["text_encoder/config.json", "text_encoder/model.fp16.safetensors"]
    assert choose.choose_text_encoder(SD) == [*text, *words]
    # madebyollin/sdxl-vae-fp16-fix
    alone = ["config.json", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"]
    others = ["README.md", "sdxl.vae.safetensors", "sdxl_vae.safetensors"]
    expected = ["config.json", "diffusion_pytorch_model.safetensors"]
    assert choose.choose_vae([*alone, *others]) == expected
    clip = ["config.json", "model.safetensors", "vocab.json", "merges.txt"]
    assert choose.choose_text_encoder([*clip, "tf_model.h5"]) == clip


def test_gates_are_in_the_larger_file():
    """gligen/diffusers-generation-text-box: its .fp16.safetensors is a UNet without gates."""
    sizes = {f"{UNET}.bin": 4270, f"{UNET}.fp16.bin": 2135, f"{UNET}.fp16.safetensors": 1720}
    assert choose.choose_set(sizes) == [f"{UNET}.bin"]
    assert choose.choose_set(sizes, half=True) == [f"{UNET}.fp16.bin"]
    files = {"unet/config.json": 1, "model_index.json": 1, **sizes}
    assert choose.choose_adapter(files) == ["unet/config.json", f"{UNET}.bin"]


def test_full_precision_comes_before_safetensors():
    """stable-diffusion-inpainting has its full precision in a .bin alone."""
    sizes = {f"{UNET}.bin": 3440, f"{UNET}.fp16.bin": 1720, f"{UNET}.fp16.safetensors": 1719}
    assert choose.choose_set(sizes) == [f"{UNET}.bin"]
    assert choose.choose_set(sizes, half=True) == [f"{UNET}.fp16.safetensors"]


def test_whole_or_in_shards_but_not_both():
    """glides/juggernautxl has both."""
    parts = [*shards(UNET, 2), f"{UNET}.safetensors.index.json"]
    assert choose.choose_set([*parts, f"{UNET}.safetensors"]) == [f"{UNET}.safetensors"]
    assert choose.choose_set([*parts, "unet/config.json"]) == parts


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_shards_of_a_variant_have_an_index_of_their_own(variant):
    parts = [*shards(f"{UNET}.{variant}", 2), f"{UNET}.safetensors.index.{variant}.json"]
    whole = [*shards(UNET, 2), f"{UNET}.safetensors.index.json"]
    assert choose.choose_set([*parts, *whole], half=True) == parts
    assert choose.choose_set([*parts, *whole]) == whole
    assert choose.choose_set(parts) == parts
    assert all(map(choose.is_half, parts))
    assert not any(map(choose.is_half, whole))


def test_a_missing_shard_is_named():
    whole = shards(UNET, 3)
    assert choose.choose_set([whole[0], whole[2]]) == [whole[0], whole[2], whole[1]]
    assert choose.choose_set([whole[0], f"{UNET}.bin"]) == [f"{UNET}.bin"]


def test_open_clip_s_names_are_not_taken():
    """The laion/CLIP-ViT-* repositories have the same weights under two names."""
    both = ["config.json", "open_clip_pytorch_model.bin", "pytorch_model.bin"]
    assert choose.choose_part(both) == ["config.json", "pytorch_model.bin"]
    other = ["config.json", "open_clip_model.safetensors", "pytorch_model.bin"]
    assert choose.choose_part(other) == ["config.json", "pytorch_model.bin"]


def test_another_model_beside_the_standard_name_is_not_taken():
    """xinsir/controlnet-union-sdxl-1.0 has a second model, "promax"."""
    names = ["diffusion_pytorch_model", "diffusion_pytorch_model_promax"]
    files = ["config.json", "config_promax.json", *(f"{name}.safetensors" for name in names)]
    assert choose.choose_part(files) == ["config.json", f"{names[0]}.safetensors"]


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (
            ["adapter.safetensors", "config.json", "README.md", "x.safetensors"],
            ["adapter.safetensors", "config.json"],
        ),
        (SD, ["unet/config.json", f"{UNET}.safetensors"]),
        (
            ["unet/config.json", "unet/a.bin", "image_encoder/config.json", "image_project/b.bin"],
            ["unet/config.json", "unet/a.bin", "image_encoder/config.json", "image_project/b.bin"],
        ),
        (["diffusion_pytorch_model.bin", "README.md"], ["diffusion_pytorch_model.bin"]),
        (["a.safetensors", "a.bin"], ["a.safetensors"]),
        (["a.safetensors", "b.safetensors"], []),
    ],
)
def test_the_files_of_an_adapter(files, chosen):
    got = choose.choose_adapter(files)
    assert [f for f in got if f in files] == chosen


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (
            ["README.md", "config.json", "model.safetensors", "predictor.json", "x.pt"],
            ["config.json", "model.safetensors", "predictor.json"],
        ),
        (["README.md", "seem.pt"], ["seem.pt"]),
        (["a.pt", "b.pt"], []),
        (["config.json", "model.safetensors"], []),
    ],
)
def test_the_files_of_a_segmenter(files, chosen):
    assert choose.choose_segmenter(files) == chosen


def test_of_a_llava_one_set_of_weights_and_the_tokenizer_are_chosen():
    words = ["config.json", "tokenizer.model", "tokenizer_config.json"]
    index = "model.safetensors.index.json"
    weights = [*shards("model", 3), index]
    others = [
        "README.md",
        "training_args.bin",
        "trainer_state/x.bin",
        *shards("pytorch_model", 2, ".bin"),
    ]
    assert set(choose.choose_chat([*words, *weights, *others])) == {*words, *weights}
    lora = ["config.json", "adapter_config.json", "adapter_model.bin", "non_lora_trainables.bin"]
    assert set(choose.choose_chat([*lora, "README.md"])) == set(lora)
    assert choose.choose_chat(others) == []


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (SD, choose.choose_base(SD)),
        (
            [*SD, "image_encoder/config.json", "image_encoder/model.safetensors"],
            [
                *choose.choose_base(SD),
                "image_encoder/config.json",
                "image_encoder/model.safetensors",
            ],
        ),
        (["seem.pt", "README.md"], ["seem.pt"]),
        (
            ["config.json", "vocab.json", "merges.txt", "pytorch_model.bin"],
            ["config.json", "vocab.json", "merges.txt", "pytorch_model.bin"],
        ),
        (
            ["config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"],
            ["config.json", "diffusion_pytorch_model.safetensors"],
        ),
        (["adapter.safetensors", "config.json", "x.md"], ["adapter.safetensors", "config.json"]),
        (["pytorch_lora_weights.safetensors", "x.png"], ["pytorch_lora_weights.safetensors"]),
        (["a.safetensors", "b.safetensors"], []),
    ],
)
def test_the_files_of_whatever_it_is(files, chosen):
    assert choose.choose_any(files) == chosen


@pytest.mark.parametrize("folder", ["tokenizer/", ""])
def test_a_vocabulary_may_be_in_tokenizer_json_alone(folder):
    both = [f"{folder}{name}" for name in ("vocab.json", "merges.txt", "tokenizer_config.json")]
    alone = [f"{folder}tokenizer.json", f"{folder}tokenizer_config.json"]
    beside = ["config.json", "model.safetensors"]
    assert set(choose.choose_tokenizer([*both, *alone, *beside])) == set(both)
    assert set(choose.choose_tokenizer([*alone, *beside])) == set(alone)
    assert choose.choose_tokenizer([f"{folder}tokenizer_config.json", *beside]) == []
    if not folder:
        assert set(choose.choose_text_encoder([*alone, *beside])) == {*alone, *beside}
