"""`lavallama train llava` on tiny models: the papers' stages from parts to a model that answers."""

import json

import pytest
import torch
from transformers import CLIPVisionModel, LlamaForCausalLM

from grounding.llava.conversation import Conversation
from grounding.llava.decoding import Decoding
from grounding.llava.records import Record, write_records
from pipelines.train import main
from tests.grounding.llava import tiny
from weights.llava import fill_llava, llava_state, read_llava, write_llava
from weights.llava_chat import load_chat

QUESTION = Conversation.of("What is it?", [tiny.picture(40, 30)])


@pytest.fixture
def parts(tmp_path):
    """A language model, a CLIP tower, records and their pictures."""
    torch.manual_seed(0)
    LlamaForCausalLM(tiny.text()).save_pretrained(tmp_path / "words")
    tiny.tokenizer().save_pretrained(tmp_path / "words")
    CLIPVisionModel(tiny.vision()).save_pretrained(tmp_path / "clip")
    (tmp_path / "images").mkdir()
    records = [Record(id="w", turns=("Say it.", "lava"))]
    for number in range(3):
        tiny.picture(30, 20, number).save(tmp_path / "images" / f"{number}.png")
        records.append(Record(id=str(number), image=f"{number}.png", turns=("What?", "a llama")))
    write_records(records, tmp_path / "all.json")
    write_records(records[1:], tmp_path / "seen.jsonl")
    return tmp_path


def options(parts, recipe, **given):
    values = {"--images": parts / "images", "--device": "cpu", "--log-every": 1} | {
        f"--{name.replace('_', '-')}": value for name, value in given.items()
    }
    words = [str(word) for pair in values.items() for word in pair]
    return ["llava", "--recipe", recipe, *words, "--batch", "2", "--offline"]


@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_lora_upon_a_llava_is_exported_as_what_it_became(parts, layout):
    base = tiny.llava()
    write_llava(
        llava_state(base), base.config, parts / "base", layout=layout, tokenizer=tiny.tokenizer()
    )
    run = options(
        parts, "v1.5-lora", model=parts / "base", data=parts / "all.json", runs=parts / "run"
    )
    run += ["--rank", "2", "--steps", "2", "--learning-rate", "0.01"]
    assert main(run) == 0
    assert main(["llava", "--runs", str(parts / "run"), "--export", str(parts / "lora")]) == 0
    adapter = json.loads((parts / "lora" / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (2, 4)
    assert (parts / "lora" / "non_lora_trainables.bin").exists() == (layout == "original")
    merged = read_llava(parts / "lora", base=parts / "base")
    own = torch.load(parts / "run" / "checkpoint.pt", weights_only=True)["parameters"]
    assert torch.equal(merged.state["projector.0.weight"], own["projector.0.weight"])
    name = "language_model.model.layers.0.mlp.up_proj"
    down, up = (own[f"{name}.lora_{half}.default.weight"] for half in "AB")
    expected = llava_state(base)[f"{name}.weight"] + 2.0 * up @ down
    torch.testing.assert_close(merged.state[f"{name}.weight"], expected)
    assert not torch.equal(merged.state[f"{name}.weight"], llava_state(base)[f"{name}.weight"])
    chat = load_chat(parts / "lora", base=parts / "base")
    assert isinstance(chat.answer(QUESTION, Decoding(max_tokens=4)), str)


def test_a_run_goes_on_with_what_it_was_begun_with(parts, capsys):
    base = tiny.llava()
    write_llava(llava_state(base), base.config, parts / "base", tokenizer=tiny.tokenizer())
    run = options(
        parts, "v1.5-lora", model=parts / "base", data=parts / "all.json", runs=parts / "run"
    )
    run += ["--rank", "2", "--steps", "1"]
    assert main(run) == 0
    capsys.readouterr()
    for more, words in (
        (["--rank", "4"], "was begun with lora rank 2, now it is 4"),
        (["--data", str(parts / "seen.jsonl")], "all.json ("),
        (["--batch", "4"], "was begun with global batch 2, now it is 4"),
        (["--seed", "9"], "was begun with seed 0, now it is 9"),
        (["--recipe", "v1.5-stage2"], 'was begun with trains "lora", now it is "all"'),
        (["--rank", "4", "--export", "x"], "was begun with rank 2, now it is 4"),
    ):
        assert main([*run, "--steps", "2", *more]) == 2
        error = capsys.readouterr().err.strip()
        assert words in error
        assert "\n" not in error
    (parts / "run" / "run.json").unlink()
    for more in (["--rank", "4"], ["--recipe", "v1.5-stage2"]):
        assert main([*run, "--steps", "2", *more]) == 2
        assert "is of another model" in capsys.readouterr().err.splitlines()[-1]


def test_both_stages_from_a_language_model_and_a_clip(parts, capsys):
    first = options(
        parts, "v1.5-stage1", model=parts / "words", data=parts / "seen.jsonl", runs=parts / "one"
    )
    first += ["--vision-tower", str(parts / "clip"), "--steps", "2"]
    assert main(first) == 0
    assert main([*first, "--export", str(parts / "projector")]) == 0
    assert sorted(path.name for path in (parts / "projector").iterdir()) == [
        "config.json",
        "mm_projector.bin",
    ]
    second = options(
        parts, "v1.5-stage2", model=parts / "projector", data=parts / "all.json", runs=parts / "two"
    )
    second += ["--base", str(parts / "words"), "--steps", "2"]
    assert main(second) == 0
    assert main([*second, "--export", str(parts / "llava")]) == 0
    model = fill_llava(read_llava(parts / "llava"))
    own = torch.load(parts / "two" / "checkpoint.pt", weights_only=True)["parameters"]
    assert torch.equal(llava_state(model)["projector.0.weight"], own["projector.0.weight"])
    clip = CLIPVisionModel.from_pretrained(parts / "clip").state_dict()
    tower = {k.removeprefix("vision_model."): v for k, v in model.vision_tower.state_dict().items()}
    for key, tensor in clip.items():
        if "position_ids" not in key:
            assert torch.equal(tower[key.removeprefix("vision_model.")], tensor)
    assert isinstance(load_chat(parts / "llava").answer(QUESTION, Decoding(max_tokens=4)), str)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "v1.5-lora"], "needs --model and --data"),
        (["--model", "x"], "the recipe stickers makes its own"),
        (["--steps", "3"], "--steps needs --stage"),
        (["--recipe", "v1.5-lora", "--model", "m", "--data", "d", "--stage", "words"], "--stage"),
        (["--recipe", "mine"], "invalid choice"),
    ],
)
def test_wrong_options_are_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["llava", *words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_missing_is_one_line(parts, capsys):
    (parts / "images" / "1.png").unlink()
    run = options(
        parts, "v1.5-stage2", model=parts / "none", data=parts / "all.json", runs=parts / "run"
    )
    assert main([*run, "--strict"]) == 2
    assert "--strict, and 1 entries are not usable" in capsys.readouterr().err
    assert main([*run[:-1], "--images", str(parts), *run[-1:]]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "none of its 3 pictures can be read" in line
    assert "their folder is named by --images" in line
    assert main([*run, "--export", str(parts / "out")]) == 2
    assert "train first" in capsys.readouterr().err
    assert not (parts / "out").exists()
