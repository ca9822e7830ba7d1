"""Both stages on tiny models: what is trained, what is not, and the same bits after a kill."""

import dataclasses
import json

import pytest
import torch

from grounding.errors import PromptError
from grounding.llava.records import Record
from grounding.llava.template import find_template
from grounding.llava.train.lora import add_lora, lora_factors, lora_targets
from grounding.llava.train.recipes import RECIPES, Lora, Recipe
from grounding.llava.train.task import LlavaTask
from grounding.loop import LoopConfig, train
from tests.grounding.llava import tiny

RECIPE = dataclasses.replace(RECIPES["v1.5-stage2"], batch=2)
LOOP = LoopConfig(
    steps=4, learning_rate=1e-3, warmup=1, ema=0, save_every=2, sample_every=9, log_every=1
)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        tiny.picture(30, 20, number).save(folder / f"{number}.png")
    return folder


def records() -> list[Record]:
    seen = [Record(id=f"s{i}", image=f"{i}.png", turns=("What?", "a llama")) for i in range(3)]
    return [*seen, *(Record(id=f"t{i}", turns=("Say it.", "lava " * (i + 1))) for i in range(3))]


def task(images, model=None, recipe: Recipe = RECIPE, chosen=None, **more) -> LlavaTask:
    return LlavaTask(
        model=model or tiny.llava().train(),
        tokenizer=tiny.tokenizer(),
        template=find_template(recipe.template or "vicuna_v1"),
        records=chosen or records(),
        images=images,
        recipe=recipe,
        batch=2,
        **more,
    )


def test_the_loss_is_that_of_the_answers(images):
    own = task(images)
    loss, numbers = own.loss(torch.Generator().manual_seed(1), 0)
    prompts = [own._prompt(own.records[i]) for i in own._order(0)[0]]
    assert loss.item() == pytest.approx(own.model(prompts).item())
    assert numbers["tokens"] == sum(len(prompt.words) for prompt in prompts)


def test_an_epoch_reads_every_record_whatever_the_processes(images):
    def read(processes):
        order = [task(images, processes=processes, process=p)._order(0) for p in range(processes)]
        steps = range(len(order[0]) // processes)
        return [order[p][step * processes + p] for step in steps for p in range(processes)]

    assert read(1) == read(2)
    assert {i for batch in read(1) for i in batch} == set(range(6))


def test_stage_1_trains_the_projector_alone_on_captions(images, tmp_path):
    recipe = dataclasses.replace(RECIPES["v1.5-stage1"], batch=2)
    model = tiny.llava().train().requires_grad_(False)
    model.projector.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    own = task(images, model, recipe, records()[:3])
    assert own._prompt(own.records[0]).labels.ge(0).sum() == len("a llama\n")
    train(own, LOOP, tmp_path / "run")
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"projector.{name}" for name, _ in model.projector.named_parameters()}


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4, dropout=0.3)])
def test_killed_and_resumed_ends_with_the_same_bits(images, tmp_path, lora):
    def run(folder, steps):
        model = tiny.llava().train()
        model.vision_tower.requires_grad_(False)
        if lora is not None:
            add_lora(model, lora)
        loop = dataclasses.replace(LOOP, steps=steps, schedule="constant")
        return train(task(images, model), loop, tmp_path / folder)

    whole = run("whole", 4)
    run("parts", 2)
    parts = run("parts", 4)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_lora_begins_as_nothing_and_spares_head_projector_and_tower(images):
    model = tiny.llava()
    own = task(images, model)
    prompts = [own._prompt(own.records[0])]
    before = model(prompts)
    heads = lora_targets(model.language_model)
    assert heads
    assert not [name for name in heads if "lm_head" in name]
    add_lora(model, Lora(rank=2, alpha=4, dropout=0))
    assert torch.equal(model([own._prompt(own.records[0])]), before)
    assert len(lora_factors(model)) == 2 * len(heads)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not [n for n in trained if n.startswith("language_model") and "lora" not in n]


def test_the_projectors_own_rate(images, tmp_path):
    moved = {}
    for name, rates in (("same", {}), ("slower", {"projector.": 0.5})):
        model = tiny.llava().train()
        start = [p.detach().clone() for p in (model.projector[0].weight, model.embedding.weight)]
        loop = dataclasses.replace(LOOP, steps=1, warmup=0, rates=rates)
        train(task(images, model), loop, tmp_path / name)
        now = (model.projector[0].weight, model.embedding.weight)
        moved[name] = [(a - b).abs().max().item() for a, b in zip(now, start, strict=True)]
    assert moved["slower"][0] == pytest.approx(moved["same"][0] / 2, rel=1e-2)
    assert moved["slower"][1] == moved["same"][1]


def test_what_cannot_be_learned_is_told(images):
    short = dataclasses.replace(RECIPE, max_tokens=20)
    with pytest.raises(PromptError, match="'s0': no answer begins within 20 tokens"):
        task(images, recipe=short)._prompt(records()[0])
    (images / "0.png").write_bytes(b"nothing")
    with pytest.raises(PromptError, match=r"0\.png: is not a whole picture"):
        task(images)._prompt(records()[0])


def test_recipes_are_those_of_the_papers():
    found = {
        name: (r.trains, r.rate, r.batch, r.epochs, r.projector) for name, r in RECIPES.items()
    }
    assert json.loads(json.dumps(found)) == {
        "v1-stage1": ["projector", 2e-3, 128, 1, "linear"],
        "v1-stage2": ["all", 2e-5, 32, 3, "linear"],
        "v1.5-stage1": ["projector", 1e-3, 256, 1, "mlp2x_gelu"],
        "v1.5-stage2": ["all", 2e-5, 128, 1, "mlp2x_gelu"],
        "v1.5-lora": ["lora", 2e-4, 128, 1, "mlp2x_gelu"],
    }
    assert RECIPES["v1.5-lora"].lora == Lora(rank=128, alpha=256, dropout=0.05)
    assert RECIPES["v1.5-lora"].projector_rate == 2e-5


@pytest.mark.parametrize("how", ["gone", "cut off"])
def test_a_picture_that_breaks_is_passed_over(images, how):
    whole = [task(images).loss(torch.Generator().manual_seed(1), step)[0] for step in range(4)]
    path = images / "1.png"
    data = path.read_bytes()
    path.unlink()
    if how == "cut off":
        path.write_bytes(data[: len(data) // 2])
    own = task(images)
    losses = [own.loss(torch.Generator().manual_seed(1), step)[0] for step in range(4)]
    assert own.broken.drops.named["cannot be read"][0].startswith("1.png: ")
    other = task(images, chosen=[*records()[:1], *records()[2:3], *records()[2:]])
    assert not torch.equal(torch.stack(losses), torch.stack(whole))
    again = [other.loss(torch.Generator().manual_seed(1), step)[0] for step in range(4)]
    assert torch.equal(torch.stack(losses), torch.stack(again))  # the next in its place
