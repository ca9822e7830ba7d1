"""Training an adapter from the command line, in miniature."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from gligen.config import MapConfig
from gligen.train import gates
from grounding.prompt import GroundedPrompt, Region
from pipelines.generation.generator import Generator
from pipelines.train import main
from tests.pipelines.conftest import WIDTH
from tests.pipelines.generation.families import PROJECTION, write_family
from tests.pipelines.generation.test_modalities import write_image_encoder
from tests.pipelines.training.gligen.coco_folder import write_coco
from weights.gligen import read_adapter

STEPS = ["--steps", "4", "--save-every", "2", "--sample-every", "2", "--log-every", "2"]
TINY = [*STEPS, "--batch", "2", "--accumulate", "2", "--held-out", "2", "--sample-steps", "1"]
TINY += ["--learning-rate", "0.01", "--warmup", "2", "--ema", "0.5", "--device", "cpu"]
KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(int(sys.argv[1]))  # sums depend on it
from gligen.train import gates
whole = gates.GatesTask.loss
def loss(self, generator, step):
    if step == 7:  # in the middle of the last step
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, generator, step)
gates.GatesTask.loss = loss
from pipelines.train import main
main(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("data") / "coco", 9)


@pytest.fixture(scope="module")
def given(coco, model_folder):
    """The arguments of every run but for its folder."""
    captions = coco.with_name("captions_stickers.json")
    return ["gligen", "--data", str(coco), "--captions", str(captions), *TINY] + [
        *("--model", str(model_folder), "--detector", "judge", "--max-aspect", "1")
    ]


@pytest.fixture(scope="module")
def run(given, tmp_path_factory):
    """A finished run, trained once."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*given, "--runs", str(folder)]) == 0
    return folder


def state(folder, name="checkpoint.pt"):
    return torch.load(folder / name, weights_only=True)


def same(one, two):
    parts = ("parameters", "average")
    return all(torch.equal(one[p][key], two[p][key]) for p in parts for key in one[p])


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_tells_what_the_loss_hides(run):
    told = lines(run)
    assert [line["step"] for line in told] == [0, 2, 2, 4, 4]
    first, measured = told[1:3]
    assert told[0].keys() == measured.keys()  # where it starts from
    assert {"loss", "lr", "with_boxes", "without_boxes", "shuffled_boxes"} <= first.keys()
    parts = {name.partition("/")[0] for name in first}
    assert {"tanh_alpha_attn", "tanh_alpha_dense", "grad_norm", "attention"} <= parts
    assert first["tanh_alpha_attn/down_blocks.0.attentions.0.transformer_blocks.0"] > 0
    assert first["grad_norm/position_net"] >= 0
    assert measured.keys() == {"step", "held_out/accuracy", "held_out/material"}
    for step in (2, 4):
        assert (run / "samples" / f"{step:07d}.png").stat().st_size > 1000
    assert state(run)["step"] == 4
    best = max(line.get("held_out/accuracy", 0) for line in told)
    assert state(run, "best.pt")["measured"] == best
    assert sorted(path.stem for path in (run / "checkpoints").iterdir()) == ["0000002", "0000004"]


def test_a_run_says_what_it_was_given(run, coco):
    report = json.loads((run / "data.json").read_text())
    assert report["pictures"] == 9
    assert report["held_out"] == 2
    settings = json.loads((run / "run.json").read_text())
    assert settings["global_batch"] == 4
    assert settings["data"] == str(coco)
    assert len(settings["base_digest"]) == len(settings["data_digest"]) == 64


def test_killed_and_resumed_ends_with_the_same_bits(run, given):
    killed = run.parent / "killed"
    arguments = [*given, "--runs", str(killed)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(torch.get_num_threads()), *arguments],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL
    assert state(killed)["step"] == 2
    assert main(arguments) == 0
    assert same(state(run), state(killed))
    assert [line["step"] for line in lines(killed)] == [0, 2, 2, 4, 4]


def launched(arguments, processes=2):
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, "-m", *launch, "-m", "pipelines.train", *arguments],
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        timeout=240,
    )


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_learn_what_one_learns(sharded, run, given):
    two = run.parent / f"two-{sharded}"
    arguments = [*given, "--runs", str(two), "--accumulate", "1"]
    done = launched([*arguments, "--shard"] if sharded else [*arguments, "--detector", "none"])
    assert done.returncode == 0, done.stderr.decode()
    one, other = state(run), state(two)
    for part in ("parameters", "average"):
        assert one[part].keys() == other[part].keys()
        assert all(torch.allclose(v, other[part][k], atol=1e-4) for k, v in one[part].items())
    told = [line["step"] for line in lines(two)]
    assert told == ([0, 2, 2, 4, 4] if sharded else [2, 4])


def test_what_was_sharded_goes_on_in_one_process(run, given):
    folder = run.parent / "shared-out"
    arguments = [*given, "--runs", str(folder), "--detector", "none"]
    half = launched([*arguments, "--accumulate", "1", "--shard", "--steps", "2"])
    assert half.returncode == 0, half.stderr.decode()
    assert main(arguments) == 0
    one, other = state(run)["average"], state(folder)["average"]
    assert all(torch.allclose(one[key], other[key], atol=1e-4) for key in one)


def test_the_export_is_an_adapter_with_a_card(run, model_folder, tmp_path):
    out = tmp_path / "mine"
    assert main(["gligen", "--runs", str(run), "--export", str(out)]) == 0
    average = state(run)["average"]
    weights, config = read_adapter(out)
    assert config.modality == "text"
    assert all(torch.equal(weights[key], average[key].half()) for key in average)
    card = (out / "README.md").read_text()
    assert "for 4 steps" in card
    assert "9 pictures" in card
    assert "| accuracy |" in card
    earlier = ["gligen", "--runs", str(run), "--export", str(tmp_path / "old")]
    assert main([*earlier, "--checkpoint", "2"]) == 0
    assert not torch.equal(
        read_adapter(tmp_path / "old")[0][key := next(iter(average))], weights[key]
    )
    generator = Generator.from_pretrained(model_folder, out, device="cpu")
    document = GroundedPrompt(prompt="a", regions=(Region(phrase="a", box=(0, 0, 1, 1)),))
    assert generator(document, steps=1, progress=False)[0].image.size == (32, 32)


def test_pushing_offline_is_one_line(run, tmp_path, capsys):
    arguments = ["gligen", "--runs", str(run), "--export", str(tmp_path / "mine")]
    assert main([*arguments, "--push-to-hub", "me/mine", "--offline"]) == 2
    assert "needs the network" in capsys.readouterr().err
    assert (tmp_path / "mine" / "README.md").is_file()


def test_a_base_that_changes_is_an_error(given, tmp_path, monkeypatch, capsys):
    whole = gates.GatesTask.loss

    def loss(self, generator, step):
        with torch.no_grad():
            self.unet.conv_out.bias += 1e-3
        return whole(self, generator, step)

    monkeypatch.setattr(gates.GatesTask, "loss", loss)
    arguments = [*given, "--runs", str(tmp_path / "run"), "--detector", "none", "--steps", "1"]
    assert main(arguments) == 2
    assert "the base changed" in capsys.readouterr().err


@pytest.fixture
def other_precision():
    """Accelerate keeps the precision that a process began with."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("other_precision")
def test_an_adapter_can_be_trained_further(given, adapter_folder, tmp_path):
    arguments = [*given, "--runs", str(tmp_path / "run"), "--detector", "none", "--steps", "1"]
    arguments += ["--init", str(adapter_folder), "--precision", "bf16", "--checkpointing"]
    arguments += ["--min-snr", "5", "--learning-rate", "1e-5", "--ema", "0"]
    assert main(arguments) == 0
    before, after = read_adapter(adapter_folder)[0], state(tmp_path / "run")["parameters"]
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[key], after[key], atol=1e-4) for key in before)
    assert any(not torch.equal(before[key], after[key]) for key in before)


def short(given, folder):
    """A run of two small steps from closed gates."""
    arguments = [*given, "--runs", str(folder), "--detector", "none", "--steps", "2"]
    return [*arguments, "--init-style", "zero", "--batch", "1", "--accumulate", "1"]


@pytest.mark.parametrize("kind", ["canny", "text+inpainting"])
def test_what_reads_more_than_latents_widens_the_first_convolution(
    kind, given, tmp_path, monkeypatch
):
    modality, _, inpainting = kind.partition("+")
    arguments = [*short(given, tmp_path / "run"), "--modality", modality]
    arguments += ["--inpainting"] if inpainting else []
    small = MapConfig(dims=(8, 8, 8, 16), depths=(1, 1, 1, 1))
    monkeypatch.setattr("gligen.config.MAPS", {"canny": small})
    assert main(arguments) == 0
    learnt = state(tmp_path / "run")["parameters"]
    assert learnt["conv_in.weight"].shape[1] == (9 if inpainting else 12)
    assert learnt["conv_in.weight"][:, 4:].abs().sum() > 0  # new channels began at zero


def test_reference_pictures_are_cut_out_of_the_boxes(given, tmp_path):
    images = write_image_encoder(tmp_path / "images")
    arguments = [*short(given, tmp_path / "run"), "--modality", "text_image"]
    assert main([*arguments, "--image-encoder", str(images)]) == 0
    learnt = state(tmp_path / "run")["parameters"]
    assert learnt["position_net.linears_image.0.weight"].shape[1] == WIDTH + 64
    assert any((tmp_path / "cache" / "features").rglob("*.safetensors"))


def test_sdxl_is_a_base_like_any_other(given, tmp_path):
    base = write_family(tmp_path / "sdxl", "sdxl")
    arguments = [*short(given, tmp_path / "run"), "--model", str(base)]
    assert main([*arguments, "--batch", "2", "--caption-dropout", "0.5"]) == 0
    learnt = state(tmp_path / "run")["parameters"]
    assert learnt["position_net.null_positive_feature"].shape == (WIDTH + PROJECTION,)
    inpainting = write_family(tmp_path / "other", "sd1_inpainting")
    assert main([*arguments, "--model", str(inpainting)]) == 2


def test_poses_are_learnt_from_keypoints(given, tmp_path):
    data = tmp_path / "poses"
    data.mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(data / f"{number}.png")
        joints = [{"xy": [0.2 * number, 0.5], "name": name} for name in ("nose", "left_knee")]
        document = {"prompt": "a dancer", "regions": [{"keypoints": joints}]}
        (data / f"{number}.json").write_text(json.dumps(document))
    captions = given.index("--captions")
    arguments = short([*given[:captions], *given[captions + 2 :]], tmp_path / "run")
    assert main([*arguments, "--modality", "keypoint", "--data", str(data)]) == 0
    assert "position_net.person_embeddings" in state(tmp_path / "run")["parameters"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "gone.json"], "gone.json: no such file or folder"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--caption-dropout", "2"], "--caption-dropout must lie between 0 and 1"),
        (["--max-aspect", "0.5"], "--max-aspect must be at least 1"),
        (["--size", "33x33"], "width must be a multiple of"),
        (["--size", "large"], "--size is WIDTHxHEIGHT"),
        (["--init", "gone"], "gone"),
        (["--modality", "text_image"], "name one with --image-encoder"),
        (["--modality", "canny", "--inpainting"], "adapters inpaint with boxes"),
        (["--modality", "depth"], "nothing is left to learn from"),
        (["--modality", "keypoint", "--detector", "judge"], "nothing is left"),
        (["--push-to-hub", "a/b"], "name a folder with it"),
        (["--checkpoint", "first"], "--checkpoint is last, best or a step"),
        (["--export", "out"], "there is no run"),
        (["--wandb", "llamas"], "wandb is not installed"),
        (["--shard"], "start several, with accelerate launch"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, words, given, tmp_path, capsys):
    assert main([*given, "--runs", str(tmp_path / "run"), *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "\n" not in error


def test_a_folder_holds_one_run(run, given, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert main([*given, "--runs", str(copy), "--seed", "1"]) == 2
    assert "was begun with seed 0, now it is 1" in capsys.readouterr().err
    assert main([*given, "--runs", str(copy), "--export", "x", "--checkpoint", "7"]) == 2
    assert "there are last, best, 2, 4" in capsys.readouterr().err
