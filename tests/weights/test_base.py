import json

import pytest
import torch
from safetensors.torch import load, load_file, save_file
from transformers import CLIPTextModel

from grounding.errors import CheckpointError
from tests.weights import tiny
from weights import base as module
from weights import components, gligen
from weights.base import load_base
from weights.keymap import official_adapter_key
from weights.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def unet():
    return tiny.unet()


@pytest.fixture(scope="module")
def pipeline(unet, tmp_path_factory):
    return tiny.write_pipeline(tmp_path_factory.mktemp("base") / "sd", base=unet)


def spoiled(pipeline, tmp_path, part, change):
    """A copy of the pipeline in which one part's tensors are changed."""
    copy = tmp_path / "copy"
    copy.mkdir(parents=True)
    for path in pipeline.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(pipeline)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (file,) = (copy / part).glob("*.safetensors")
    state = load(file.read_bytes())
    change(state)
    save_file(state, file)
    return copy


def test_a_folder_loads(pipeline, unet):
    base = load_base(pipeline)
    assert tiny.same(base.unet.state_dict(), unet.state_dict())
    text = CLIPTextModel.from_pretrained(pipeline / "text_encoder").eval()
    ids = base.tokenizer("lava llama", return_tensors="pt").input_ids
    assert ids[0, 0] == tiny.VOCABULARY - 2
    with torch.no_grad():
        assert torch.equal(base.text_encoder(ids).pooler_output, text(ids).pooler_output)
        noise = base.unet(torch.ones(1, 4, 16, 16), 3, text(ids).last_hidden_state).sample
        expected = unet.eval()(torch.ones(1, 4, 16, 16), 3, text(ids).last_hidden_state).sample
    assert torch.equal(noise, expected)
    assert base.scheduler_config["beta_schedule"] == "scaled_linear"
    assert (base.source, base.adapter_source) == (str(pipeline), None)
    for model in (base.unet, base.vae, base.text_encoder):
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_type_is_the_callers(pipeline):
    base = load_base(pipeline, dtype=torch.float16)
    for model in (base.unet, base.vae, base.text_encoder):
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float16}


def test_half_precision_files_come_as_float32_by_default(tmp_path, unet):
    folder = tiny.write_pipeline(tmp_path / "sd", autoencoder=tiny.tiny_vae())
    for file in folder.rglob("*.safetensors"):
        halves = {key: value.half() for key, value in load_file(file).items()}
        file.unlink()
        save_file(halves, file.with_name(f"{file.stem}.fp16.safetensors"))
    base = load_base(folder)
    assert type(base.vae).__name__ == "AutoencoderTiny"
    assert {parameter.dtype for parameter in base.unet.parameters()} == {torch.float32}


def test_pickled_weights_and_old_names_are_read(tmp_path, pipeline):
    def age(state):
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for key in [key for key in state if "mid_block.attentions.0.to_" in key]:
            new = key
            for modern, name in old.items():
                new = new.replace(f".{modern}.", f".{name}.")
            state[new] = state.pop(key)

    aged = spoiled(pipeline, tmp_path, "vae", age)
    file = aged / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    text = aged / "text_encoder" / "model.safetensors"
    state = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(text).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    torch.save(state, text.with_name("pytorch_model.bin"))
    text.unlink()
    expected, read = load_base(pipeline), load_base(aged)
    assert tiny.same(read.vae.state_dict(), expected.vae.state_dict())
    assert tiny.same(read.text_encoder.state_dict(), expected.text_encoder.state_dict())


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_wrong_weights_are_one_line(pipeline, tmp_path, part):
    def drop(state):
        del state[min(state)]

    def add(state):
        state["surplus"] = torch.ones(1)

    def reshape(state):
        state[min(state)] = torch.ones(1, 2)

    for number, (change, named) in enumerate(
        [(drop, "missing"), (add, "unknown surplus"), (reshape, r"has shape \(1, 2\), expected")]
    ):
        (tmp_path / str(number)).mkdir()
        copy = spoiled(pipeline, tmp_path / str(number), part, change)
        with pytest.raises(CheckpointError, match=named) as caught:
            load_base(copy)
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_gated_folder_is_a_base_and_its_adapter(tmp_path, unet):
    made = tiny.adapter(unet)
    folder = tiny.write_pipeline(tmp_path / "sd", base=unet)
    gligen.write_adapter(
        made.state_dict(), made.config, folder / "unet", layout="diffusers", base=unet
    )
    base = load_base(folder)
    assert tiny.same(base.unet.state_dict(), unet.state_dict())
    assert base.unet.config.attention_type == "default"
    assert base.adapter_source is not None
    adapter = gligen.load_adapter(base.adapter_source, base.unet)
    assert tiny.same(adapter.state_dict(), made.state_dict())


def single_file(
    unet, vae, text, names=("model.diffusion_model", "first_stage_model", "cond_stage_model")
):
    unet_name, vae_name, text_name = names
    return {
        **{f"{unet_name}.{k}": v for k, v in tiny.official_unet(unet).items()},
        **{f"{vae_name}.{k}": v for k, v in tiny.official_vae(vae).items()},
        **{f"{text_name}.{k}": v for k, v in tiny.official_text(text).items()},
    }


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_single_file_loads_offline(tmp_path, pipeline, unet, suffix):
    vae, text = tiny.vae(), tiny.text_encoder()
    state = single_file(unet, vae, text)
    path = tmp_path / f"sd{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    base = load_base(path, offline=True, tokenizer=pipeline / "tokenizer")
    assert tiny.same(base.unet.state_dict(), unet.state_dict())
    assert tiny.same(base.vae.state_dict(), vae.state_dict())
    assert tiny.same(base.text_encoder.state_dict(), text.state_dict())
    assert base.scheduler_config["beta_end"] == 0.012
    latents, image = torch.ones(1, 4, 4, 4), torch.ones(1, 3, 8, 8)
    with torch.no_grad():
        pictures = [model.decode(latents).sample for model in (base.vae, vae.eval())]
        encoded = [model.encode(image).latent_dist.mean for model in (base.vae, vae)]
    assert torch.equal(*pictures)
    assert torch.equal(*encoded)


def test_an_official_gligen_checkpoint_is_a_base_and_its_adapter(tmp_path, pipeline, unet):
    made, vae, text = tiny.adapter(unet), tiny.vae(), tiny.text_encoder()
    state = single_file(unet, vae, text, ("model", "autoencoder", "text_encoder"))
    whole: dict = {"model": {}, "autoencoder": {}, "text_encoder": {}}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        whole[part][rest] = value
    whole["model"] |= {official_adapter_key(k): v for k, v in made.state_dict().items()}
    whole["diffusion"] = {"betas": torch.ones(3)}
    path = tmp_path / "diffusion_pytorch_model.bin"
    torch.save(whole, path)
    base = load_base(path, tokenizer=pipeline / "tokenizer")
    assert tiny.same(base.unet.state_dict(), unet.state_dict())
    assert tiny.same(base.vae.state_dict(), vae.state_dict())
    assert base.adapter_source == str(path)
    adapter = gligen.load_adapter(base.adapter_source, base.unet)
    assert tiny.same(adapter.state_dict(), made.state_dict())


def test_a_single_file_without_a_tokenizer_reads_clip_s(tmp_path, unet):
    state = single_file(unet, tiny.vae(), tiny.text_encoder())
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "sd.safetensors")
    words = load_base(tmp_path / "sd.safetensors", offline=True).tokenizer
    assert words("a photo of a cat").input_ids[1:-1] == [320, 1125, 539, 320, 2368]
    tiny.write_tokenizer(tmp_path / "tokenizer")
    beside = load_base(tmp_path / "sd.safetensors", offline=True).tokenizer
    assert len(beside) < len(words)


def test_a_pipeline_of_the_hub_is_read_as_a_folder_is(pipeline, unet, loopback_hub):
    files = [path for path in pipeline.rglob("*") if path.is_file()]
    content = {path.relative_to(pipeline).as_posix(): path.read_bytes() for path in files}
    loopback_hub.put("someone/tiny", {**content, "README.md": b"a card", "unet/x.bin": b"x"})
    for offline in (False, True):
        base = load_base("someone/tiny", offline=offline)
        assert base.source == "someone/tiny"
        assert tiny.same(base.unet.state_dict(), unet.state_dict())
    assert loopback_hub.downloaded.count("unet/diffusion_pytorch_model.safetensors") == 1
    assert not {"README.md", "unet/x.bin"} & set(loopback_hub.downloaded)


def test_the_embedded_model_is_a_folder_beside_the_code(pipeline, monkeypatch):
    monkeypatch.setattr(module, "embedded", lambda part: pipeline if part == "base" else None)
    base = load_base("embedded", offline=True)
    assert base.source == "embedded"
    assert base.adapter_source is None


def test_incomplete_folders_are_one_line(tmp_path, pipeline):
    with pytest.raises(CheckpointError, match="found no unet/config.json"):
        load_base(tmp_path)
    for place, named in {
        "scheduler/scheduler_config.json": "scheduler_config.json: no such file",
        "tokenizer/vocab.json": "expected a CLIP tokenizer",
        "vae/diffusion_pytorch_model.safetensors": "vae: expected diffusion_pytorch_model",
        "vae/config.json": "vae/config.json: no such file",
    }.items():
        copy = spoiled(pipeline, tmp_path / place.replace("/", "-"), "unet", lambda state: None)
        (copy / place).unlink()
        with pytest.raises(CheckpointError, match=named):
            load_base(copy)
    (copy / "vae" / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="expected a JSON object, got list"):
        load_base(copy)


@pytest.mark.parametrize(
    ("part", "change", "named"),
    [
        ("unet", {"in_channels": 8}, "takes 8 channels, expected 4, or 9"),
        ("vae", {"_class_name": "VQModel"}, "AutoencoderTiny or PatchAutoencoder, got VQModel"),
        ("text_encoder", {"model_type": "t5"}, "clip_text_model, got t5"),
    ],
)
def test_other_kinds_of_models_are_refused(tmp_path, pipeline, part, change, named):
    copy = spoiled(pipeline, tmp_path, part, lambda state: None)
    where = copy / part / "config.json"
    where.write_text(json.dumps({**json.loads(where.read_text()), **change}))
    with pytest.raises(CheckpointError, match=named):
        load_base(copy)


def test_a_folder_of_one_file_is_that_file(tmp_path, pipeline, unet):
    """As the official GLIGENs are published: a repository of one `.bin`."""
    torch.save(single_file(unet, tiny.vae(), tiny.text_encoder()), tmp_path / "model.bin")
    base = load_base(tmp_path, tokenizer=pipeline / "tokenizer")
    assert tiny.same(base.unet.state_dict(), unet.state_dict())
    torch.save({}, tmp_path / "other.bin")
    with pytest.raises(CheckpointError, match="expected a folder in diffusers' layout"):
        load_base(tmp_path, tokenizer=pipeline / "tokenizer")


def test_gates_that_the_config_does_not_tell_are_no_silent_loss(tmp_path, unet):
    made = tiny.adapter(unet)
    folder = tiny.write_pipeline(tmp_path / "sd", base=unet)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({**load(file.read_bytes()), **made.state_dict()}, file)
    base = load_base(folder)
    assert tiny.same(base.unet.state_dict(), unet.state_dict())
    assert base.adapter_source == str(folder)
    assert tiny.same(
        gligen.load_adapter(base.adapter_source, base.unet).state_dict(), made.state_dict()
    )


@pytest.fixture(scope="module")
def bare(unet, tmp_path_factory):
    """A UNet alone in a file, as many are shared."""
    path = tmp_path_factory.mktemp("bare") / "unet.safetensors"
    save_file(tiny.official_unet(unet), path)
    tiny.write_tokenizer(path.parent / "tokenizer")
    return path


def write_vae(kind, folder, vae):
    """A VAE in one of the layouts that people share."""
    if kind == "folder":
        vae.save_pretrained(folder / "vae")
        return folder / "vae"
    if kind == "pipeline":
        return tiny.write_pipeline(folder / "sd", autoencoder=vae)
    state = {
        "ldm": tiny.official_vae(vae),
        "diffusers": vae.state_dict(),
        "checkpoint": single_file(tiny.unet(), vae, tiny.text_encoder()),
    }[kind.split(".")[0]]
    path = folder / f"vae.{kind.split('.')[1]}"
    if path.suffix == ".ckpt":  # as vae-ft-mse-840000-ema-pruned.ckpt was
        torch.save({"state_dict": {**state, "loss.logvar": torch.ones(())}}, path)
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


VAES = "folder", "pipeline", "ldm.ckpt", "ldm.safetensors", "diffusers.safetensors", "checkpoint.ckpt"  # noqa: E501  # fmt: skip


@pytest.mark.parametrize("kind", VAES)
def test_a_vae_from_elsewhere(kind, tmp_path, bare, pipeline):
    vae = tiny.vae()
    path = write_vae(kind, tmp_path, vae)
    base = load_base(bare, offline=True, vae=path, text_encoder=pipeline)
    assert tiny.same(base.vae.state_dict(), vae.state_dict())
    assert base.vae.config.scaling_factor == 0.18215
    replaced = load_base(pipeline, vae=path)
    assert tiny.same(replaced.vae.state_dict(), vae.state_dict())


def test_what_is_missing_names_its_cure(bare, pipeline):
    with pytest.raises(CheckpointError, match="no VAE .* with --vae, such as --vae sd-vae-ft-mse"):
        load_base(bare, offline=True, text_encoder=pipeline)
    with pytest.raises(CheckpointError, match="no text encoder .* give one with --text-encoder"):
        load_base(bare, offline=True, vae=pipeline)


def write_text(kind, folder, text):
    """A text encoder in one of the layouts that people share."""
    inner = {k.removeprefix("text_model."): v for k, v in text.state_dict().items()}
    if kind == "folder":
        text.save_pretrained(folder / "text")
        return folder / "text"
    if kind == "clip":
        text.save_pretrained(folder / "clip")
        config = json.loads((folder / "clip" / "config.json").read_text())
        whole = {"model_type": "clip", "text_config": config, "vision_config": {}}
        (folder / "clip" / "config.json").write_text(json.dumps(whole))
        state = {f"text_model.{key}": value for key, value in inner.items()}
        beside = ("vision_model.x", "visual_projection.weight", "text_projection.weight")
        state |= {key: torch.ones(1) for key in (*beside, "logit_scale")}
        state["text_model.embeddings.position_ids"] = torch.arange(16)[None]
        save_file(state, folder / "clip" / "model.safetensors")
        return folder / "clip"
    state = {f"text_model.{key}": value for key, value in inner.items()}
    state |= {"logit_scale": torch.ones(()), "text_projection.weight": torch.ones(1)}
    save_file(state, folder / "clip_l.safetensors")  # as for ComfyUI
    return folder / "clip_l.safetensors"


@pytest.mark.parametrize("kind", ["folder", "clip", "file"])
def test_a_text_encoder_from_elsewhere(kind, tmp_path, bare, pipeline):
    text = tiny.text_encoder()
    path = write_text(kind, tmp_path, text)
    tokenizer = pipeline / "tokenizer"
    base = load_base(bare, offline=True, tokenizer=tokenizer, vae=pipeline, text_encoder=path)
    ids = torch.tensor([[tiny.VOCABULARY - 2, 5, 7, tiny.VOCABULARY - 1]])
    with torch.no_grad():
        seen = [model(ids).last_hidden_state for model in (base.text_encoder, text.eval())]
    assert torch.equal(*seen)
    assert torch.equal(load_base(pipeline, text_encoder=path).text_encoder(ids)[0], seen[0])


def test_a_text_encoder_brings_its_vocabulary(tmp_path, pipeline):
    path = write_text("folder", tmp_path, tiny.text_encoder())
    tokenizer = load_tokenizer(pipeline / "tokenizer")
    tokenizer.pad_token = "!"
    tokenizer.save_pretrained(path)
    if (path / "tokenizer.json").is_file():  # transformers 5, which needs no other
        for name in ("vocab.json", "merges.txt"):
            (path / name).unlink(missing_ok=True)
    assert load_base(pipeline).tokenizer.pad_token != "!"
    assert load_base(pipeline, text_encoder=path).tokenizer.pad_token == "!"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scaling_factor": 0.13025}, "scaled by 0.13025, the model's by 0.18215"),
        ({"latents_mean": [0.0] * 4}, r"its latents are shifted \(latents_mean\)"),
        ({"latent_channels": 16}, "its latents have 16 channels, the UNet draws 4"),
    ],
)
def test_a_vae_of_another_model_is_refused(tmp_path, pipeline, change, named):
    tiny.vae().save_pretrained(tmp_path / "vae")
    where = tmp_path / "vae" / "config.json"
    where.write_text(json.dumps({**json.loads(where.read_text()), **change}))
    with pytest.raises(CheckpointError, match=named):
        load_base(pipeline, vae=tmp_path / "vae")


def test_noise_of_another_kind_is_refused(tmp_path, pipeline):
    copy = spoiled(pipeline, tmp_path, "unet", lambda state: None)
    where = copy / "scheduler" / "scheduler_config.json"
    said = {**json.loads(where.read_text()), "_class_name": "EDMEulerScheduler"}
    where.write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match="it learnt the noise of EDMEulerScheduler"):
        load_base(copy)


@pytest.mark.parametrize(
    "name",
    [
        "diffusion_pytorch_model.bf16.safetensors",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
        "diffusion_pytorch_model.fp16.safetensors.index.json",
    ],
)
def test_half_precision_by_every_name(tmp_path, pipeline, unet, name):
    copy = spoiled(pipeline, tmp_path, "unet", lambda state: None)
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    if name.endswith(".json"):
        shard = "diffusion_pytorch_model.fp16-00001-of-00001.safetensors"
        weight_map = dict.fromkeys(load_file(file), shard)
        file.with_name(name).write_text(json.dumps({"weight_map": weight_map}))
        file.rename(file.with_name(shard))
    else:
        file.rename(file.with_name(name))
    assert tiny.same(load_base(copy).unet.state_dict(), unet.state_dict())


def test_one_parameter_by_two_names_is_refused(tmp_path, pipeline):
    def double(state):
        key = next(key for key in state if key.endswith("final_layer_norm.weight"))
        inner = key.removeprefix("text_model.")
        state[inner], state[f"text_model.{inner}"] = state[key].clone(), state[key].clone()

    copy = spoiled(pipeline, tmp_path, "text_encoder", double)
    with pytest.raises(CheckpointError, match=r"final_layer_norm.weight by two names"):
        load_base(copy)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"expected a folder, \.safetensors or"):
        load_base(tmp_path / "picture.png")


def test_nothing_is_initialised_before_it_is_filled(unet):
    empty = components.make_unet(unet.config)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
