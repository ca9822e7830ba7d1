"""Stable Diffusion 1.4 with GLIGEN, and SDXL, in the layouts that people share."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from omegaconf import OmegaConf
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from gligen.adapter import GligenAdapter
from gligen.config import AdapterConfig
from tests.rehearsal.material import Entry, entries, map_tensors, write_stream
from tests.weights.tiny import prefixed
from weights.keymap import UNetLayout, official_adapter_key, unet_table
from weights.ldm_vae import vae_table

__all__ = ["Job", "rehearse_sd14", "rehearse_sdxl"]

Job = dict[str, Any]
LAYERS = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}
OFFICIAL = {  # prefix in Stable Diffusion's file -> state dict in GLIGEN's
    "model.diffusion_model.": "model",
    "first_stage_model.": "autoencoder",
    "cond_stage_model.": "text_encoder",
}
VOCABULARY = 49408


class Sizes:
    """Configs of one model: as published, or tiny."""

    def __init__(self, family: str, tiny: bool):
        large = family == "sdxl"
        self.family = family
        self.width, self.second = (64, 64) if tiny else (768, 1280)
        channels = (320, 640, 1280) if large else (320, 640, 1280, 1280)
        if tiny:
            channels = (32, 64, 128) if large else (32, 32, 32, 32)
        self.unet: Job = {
            "sample_size": 128 if large else 64,
            "block_out_channels": channels,
            "cross_attention_dim": self.width + (self.second if large else 0),
            "attention_head_dim": [max(1, c // 64) for c in channels] if large else 8,
        }
        if large:
            down, cross = "DownBlock2D", "CrossAttnDownBlock2D"
            self.unet |= {
                "down_block_types": [down, cross, cross],
                "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                "transformer_layers_per_block": [1, 1, 2] if tiny else [1, 2, 10],
                "use_linear_projection": True,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": self.second + 6 * 256,
            }
        self.vae: Job = {
            "block_out_channels": (32, 32, 32, 32) if tiny else (128, 256, 512, 512),
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
            "scaling_factor": 0.13025 if large else 0.18215,
            "sample_size": 1024 if large else 512,
        }
        self.text: Job = {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": 2 if tiny else 12,
            "num_attention_heads": self.width // 64,
            "vocab_size": VOCABULARY,
            "bos_token_id": VOCABULARY - 2,
            "eos_token_id": VOCABULARY - 1,
            "pad_token_id": VOCABULARY - 1,
        }
        self.text_2: Job = {
            **self.text,
            "hidden_size": self.second,
            "intermediate_size": 4 * self.second,
            "num_hidden_layers": 3 if tiny else 32,
            "num_attention_heads": self.second // 64,
            "projection_dim": self.second,
            "hidden_act": "gelu",
            "pad_token_id": 0,
        }
        self.dtype = torch.float16 if large else torch.float32

    def models(self) -> dict[str, torch.nn.Module]:
        """The models, without content."""
        with torch.device("meta"):
            made: dict[str, torch.nn.Module] = {
                "unet": UNet2DConditionModel(**self.unet),
                "vae": AutoencoderKL(**self.vae),
                "text_encoder": CLIPTextModel(CLIPTextConfig(**self.text)),
            }
            if self.family == "sdxl":
                made["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**self.text_2))
        return made


class Parts:
    """The parameters of a model, by diffusers' names and by the official ones."""

    def __init__(self, family: str, tiny: bool):
        self.sizes = Sizes(family, tiny)
        self.models = self.sizes.models()
        self.entries = {
            name: entries(model, self.sizes.dtype, name) for name, model in self.models.items()
        }

    def official(self) -> list[Entry]:
        """All of them by the names of latent-diffusion."""
        sizes, text = self.sizes, self.entries["text_encoder"]
        text = {key.removeprefix("text_model."): value for key, value in text.items()}
        large = sizes.family == "sdxl"
        clip = "conditioner.embedders.0.transformer." if large else "cond_stage_model.transformer."
        found = [
            *under("model.diffusion_model.", self.unet()),
            *under("first_stage_model.", self.vae()),
            *under(f"{clip}text_model.", text),
        ]
        if large:
            found += under("conditioner.embedders.1.model.", self.open_clip())
        return found

    def unet(self) -> dict[str, Entry]:
        """The UNet by official names."""
        layout = UNetLayout.of({**self.models["unet"].config})  # type: ignore[attr-defined]
        back = {ours: theirs for theirs, ours in unet_table(layout).items()}
        return prefixed(self.entries["unet"], back)  # type: ignore[arg-type]

    def vae(self) -> dict[str, Entry]:
        """The autoencoder by official names; its attention is of 1x1 convolutions there."""
        table = vae_table(len(self.sizes.vae["block_out_channels"]), 2)
        back = {str(ours): theirs for theirs, ours in table.items()}
        named: dict[str, Entry] = prefixed(self.entries["vae"], back)  # type: ignore
        return {
            key: one.shaped(*one.shape, 1, 1) if ".attn_1." in key and len(one.shape) == 2 else one
            for key, one in named.items()
        }

    def open_clip(self) -> dict[str, Entry]:
        """SDXL's second text encoder by OpenCLIP's names."""
        inner = {
            k.removeprefix("text_model."): e for k, e in self.entries["text_encoder_2"].items()
        }
        found = {
            "token_embedding.weight": inner["embeddings.token_embedding.weight"],
            "positional_embedding": inner["embeddings.position_embedding.weight"],
            "ln_final.weight": inner["final_layer_norm.weight"],
            "ln_final.bias": inner["final_layer_norm.bias"],
            "text_projection": turned(inner["text_projection.weight"]),
        }
        for layer in range(self.sizes.text_2["num_hidden_layers"]):
            here, there = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
            for end in ("weight", "bias"):
                for ours, theirs in OPEN_CLIP.items():
                    found[f"{there}.{theirs}.{end}"] = inner[f"{here}.{ours}.{end}"]
                three = [inner[f"{here}.self_attn.{one}_proj.{end}"] for one in "qkv"]
                found[f"{there}.attn.in_proj_{end}"] = joined(three)
        return found

    def write_folder(self, folder: Path, *, variant: str = "") -> Path:
        """Write diffusers' folder, the VAE's attention named as CompVis's own is."""
        stems = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
        configs = {"unet": self.sizes.unet, "vae": self.sizes.vae}
        for part, named in self.entries.items():
            stem = stems.get(part, "model")
            named = {aged(key) if part == "vae" else key: one for key, one in named.items()}
            write_stream(folder / part / f"{stem}{variant}.safetensors", under("", named))
            config = configs.get(part) or self.models[part].config.to_dict()  # type: ignore
            (folder / part / "config.json").write_text(json.dumps(config))
        words = ["tokenizer", "tokenizer_2"][: len(self.entries) - 2]
        for name in words:
            write_tokenizer(folder / name, pad="!" if name == "tokenizer_2" else "<|endoftext|>")
        write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
        write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
        return folder


def under(prefix: str, named: dict[str, Entry]) -> list[Entry]:
    return [one.named(f"{prefix}{key}") for key, one in named.items()]


def turned(one: Entry) -> Entry:
    make = one.make
    rows, columns = one.shape
    return Entry(
        name=one.name, shape=(columns, rows), dtype=one.dtype, make=lambda: make().T.contiguous()
    )


def joined(parts: list[Entry]) -> Entry:
    first, *rest = parts[0].shape
    return Entry(
        name=parts[0].name,
        shape=(first * len(parts), *rest),
        dtype=parts[0].dtype,
        make=lambda: torch.cat([one.make() for one in parts]),
    )


def aged(key: str) -> str:
    for old, new in LAYERS.items():
        key = key.replace(f"mid_block.attentions.0.{new}.", f"mid_block.attentions.0.{old}.")
    return key


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_tokenizer(folder: Path, *, pad: str = "<|endoftext|>") -> Path:
    """Write a vocabulary of CLIP's size that spells every word."""
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += [f"<filler {n}>" for n in range(VOCABULARY - len(words) - 2)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    write_json(folder / "tokenizer_config.json", {"pad_token": pad, "model_max_length": 77})
    return folder


def gates(parts: Parts) -> dict[str, Entry]:
    """GLIGEN's gates and tokenizer, by our names."""
    width = parts.sizes.width
    with torch.device("meta"):
        config = AdapterConfig(phrase_dim=width, context_dim=width)
        adapter = GligenAdapter.for_unet(parts.models["unet"], config)
    return entries(adapter, parts.sizes.dtype, "gates")


def rehearse_sd14(folder: Path, tiny: bool) -> Iterator[tuple[str, Callable[[], Job]]]:
    """Write Stable Diffusion 1.4 with GLIGEN in one layout after the other.

    Yields:
        The layout, and what writes it and says how to draw with it. Of what one writes, the next
        may use the folder, the LDM file and ComfyUI's.
    """
    parts = Parts("sd14", tiny)
    held = gates(parts)
    official = {official_adapter_key(key): one for key, one in held.items()}
    comfy, ldm = folder / "comfyui.safetensors", folder / "sd-v1-4.safetensors"
    write_tokenizer(folder / "tokenizer")
    job = {"kind": "picture", "dtype": "float32"}

    def write_diffusers() -> Job:
        parts.write_folder(folder / "sd14")
        write_stream(comfy, under("", official))
        return {**job, "model": folder / "sd14", "adapter": comfy}

    def write_ldm() -> Job:
        write_stream(ldm, parts.official())
        return {**job, "model": ldm, "adapter": comfy}

    def write_ckpt() -> Job:
        state: Job = map_tensors(ldm)
        ema = {f"model_ema.{k[6:].replace('.', '')}": v for k, v in state.items() if "out.2." in k}
        content = {"state_dict": {**state, **ema}, "epoch": 3, "callbacks": {"x": {"best": None}}}
        torch.save(content, folder / "sd-v1-4.ckpt")
        return {**job, "model": folder / "sd-v1-4.ckpt", "adapter": comfy, "gone": "sd-v1-4.ckpt"}

    def write_official() -> Job:
        whole: Job = {"model": map_tensors(comfy), "autoencoder": {}, "text_encoder": {}}
        for key, tensor in map_tensors(ldm).items():
            prefix = next(prefix for prefix in OFFICIAL if key.startswith(prefix))
            whole[OFFICIAL[prefix]][key.removeprefix(prefix)] = tensor
        target = {"target": "grounding_input.text_grounding_tokinzer_input.GroundingNetInput"}
        whole["config_dict"] = vars(OmegaConf.create({"grounding_tokenizer_input": target}))
        path = folder / "official" / "diffusion_pytorch_model.bin"
        path.parent.mkdir()
        write_tokenizer(path.parent / "tokenizer")
        torch.save(whole, path)
        return {**job, "model": path.parent, "adapter": None, "gone": "official"}

    def write_masterful() -> Job:
        base, target = folder / "sd14", folder / "masterful"
        for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
            (target / part).parent.mkdir(exist_ok=True)
            (target / part).symlink_to(base / part)
        gate_file = write_stream(folder / "gates.safetensors", under("", held))
        unet = base / "unet" / "diffusion_pytorch_model.safetensors"
        (target / "unet").mkdir()
        state = {**map_tensors(unet), **map_tensors(gate_file)}
        torch.save(state, target / "unet" / "diffusion_pytorch_model.bin")
        config = {**parts.sizes.unet, "attention_type": "gated"}
        write_json(target / "unet" / "config.json", config)
        return {**job, "model": target, "adapter": None, "gone": "masterful"}

    def write_unet() -> Job:
        write_stream(folder / "unet.safetensors", under("", parts.unet()))
        vae = write_stream(folder / "vae.safetensors", under("", parts.vae()))
        more = {"vae": vae, "text_encoder": folder / "sd14", "gone": "unet.safetensors"}
        return {**job, "model": folder / "unet.safetensors", "adapter": comfy, **more}

    yield "diffusers folder + ComfyUI gates", write_diffusers
    yield "LDM .safetensors + ComfyUI gates", write_ldm
    yield "LDM .ckpt with averages + ComfyUI gates", write_ckpt
    yield "official GLIGEN .bin", write_official
    yield "masterful folder (.bin)", write_masterful
    yield "UNet alone + --vae, --text-encoder + ComfyUI gates", write_unet


def rehearse_sdxl(folder: Path, tiny: bool) -> Iterator[tuple[str, Callable[[], Job]]]:
    """Write SDXL as a folder, then as a single file, as `rehearse_sd14` does."""
    parts = Parts("sdxl", tiny)
    job = {"kind": "picture", "dtype": "bfloat16", "adapter": "none"}
    write_tokenizer(folder / "tokenizer")

    def write_diffusers() -> Job:
        parts.write_folder(folder / "sdxl", variant=".fp16")
        return {**job, "model": folder / "sdxl", "gone": "sdxl"}

    def write_ldm() -> Job:
        write_stream(folder / "sdxl.safetensors", parts.official())
        return {**job, "model": folder / "sdxl.safetensors", "gone": "sdxl.safetensors"}

    yield "diffusers folder, fp16", write_diffusers
    yield "single .safetensors, fp16", write_ldm
