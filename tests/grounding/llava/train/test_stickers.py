"""What the embedded LLaVA is taught of patches, and the tasks that teach it."""

import numpy as np
import pytest
import torch
from torch import nn

from grounding.llava.template import find_template
from grounding.llava.train.align import AlignTask, even_out
from grounding.llava.train.begin import attend_to_alike
from grounding.llava.train.cells import NOTHING, cells_of
from grounding.llava.train.spelled import SpelledPatches
from grounding.llava.train.sticker_talk import StickerTalk
from grounding.llava.train.tower import TowerTask
from grounding.stickers import PRESETS, render
from grounding.stickers.chat_tokenizer import build_chat_tokenizer
from seem.train.scenes import owners
from weights.llava_tower import build_tower, tower_config

CROWD = PRESETS["crowd"]
GRID = 8


def pictures(seeds=range(6)):
    scenes = [CROWD.scene(seed) for seed in seeds]
    rendered = [render(scene) for scene in scenes]
    return scenes, rendered, np.stack([owners(picture.masks) for picture in rendered])


def language(hidden=16):
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(build_chat_tokenizer()), hidden_size=hidden, intermediate_size=24,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def test_patches_show_what_is_there():
    scenes, _, ids = pictures()
    cells = cells_of(scenes, ids, CROWD, GRID)
    for i, scene in enumerate(scenes):
        assert cells.middles[i].sum() == len(scene.stickers)
        for row, column in cells.middles[i].nonzero().tolist():
            concept = CROWD.concepts[cells.concepts[i, row, column] - 1]
            box = cells.boxes[i, row, column].tolist()
            [sticker] = [s for s in scene.stickers if np.allclose(s.box, box, atol=1e-6)]
            assert concept == sticker.concept
            x, y = (column + 0.5) / GRID, (row + 0.5) / GRID
            assert box[0] - 0.07 < x < box[2] + 0.07
            assert box[1] - 0.07 < y < box[3] + 0.07
        behind = cells.concepts[i] == 0
        assert (cells.materials[i][behind] == NOTHING).all()
        assert set(cells.backgrounds[i][behind].tolist()) == {
            CROWD.backgrounds.index(scene.background)
        }


def test_spelled_patches_hold_their_words_and_brief_ones_are_the_middles():
    tokenizer, model = build_chat_tokenizer(), language()
    spelled = SpelledPatches(model.get_input_embeddings(), tokenizer, CROWD)
    scenes, _, ids = pictures(range(1))
    cells = cells_of(scenes, ids, CROWD, GRID)
    words, brief = spelled(cells)[0], spelled.briefly(scenes[0])
    assert words.shape == (GRID**2, 16)
    assert len(brief) == 1 + len(scenes[0].stickers)
    middles = cells.middles[0].flatten().nonzero().flatten()
    for patch in middles:
        assert min((words[patch] - row).abs().max() for row in brief[1:]) < 1e-6
    table = model.get_input_embeddings().weight
    sticker = scenes[0].stickers[0]
    names = [f"Ġ{sticker.concept}", f"Ġ{sticker.material or 'plain'}"]
    said = table[tokenizer.convert_tokens_to_ids(names)].sum(0)
    with torch.no_grad():
        spelled.placed.weight.zero_()
        spelled.shown.zero_()
    torch.testing.assert_close(spelled.briefly(scenes[0])[1], said)
    assert {name for name, _ in spelled.named_parameters()} == {"placed.weight", "shown"}


def test_attention_begins_by_finding_the_patch_that_a_word_is_about():
    tokenizer, model = build_chat_tokenizer(), language(64)
    attend_to_alike(model)
    spelled = SpelledPatches(model.get_input_embeddings(), tokenizer, CROWD)
    model.set_attn_implementation("eager")
    scene = CROWD.scene(4)
    patches = spelled.briefly(scene)
    wanted = [f"Ġ{sticker.concept}" for sticker in scene.stickers]
    table = model.get_input_embeddings().weight
    asked = table[tokenizer.convert_tokens_to_ids(["Is", "Ġthere", "Ġa", *wanted])]
    first = model(inputs_embeds=torch.cat([patches, asked])[None], output_attentions=True)
    searching = first.attentions[0][0, 0].detach()  # the first head of the first layer
    found = searching[len(patches) + 3 :, 1 : len(patches)]
    assert found.argmax(1).tolist() == list(range(len(wanted)))
    assert found.diagonal().mean() > 3 * (found.sum() - found.trace()) / found.numel()


@pytest.mark.parametrize("captions_only", [False, True])
def test_talk_depends_on_the_seed_alone_and_learns(captions_only):
    tokenizer, model = build_chat_tokenizer(), language()
    spelled = SpelledPatches(model.get_input_embeddings(), tokenizer, CROWD)
    task = StickerTalk(
        language_model=model,
        before=spelled,
        look=lambda scenes: [spelled.briefly(scene) for scene in scenes],
        tokenizer=tokenizer,
        template=find_template("mistral_instruct"),
        world=CROWD,
        scenes=50,
        objects={0: 1, 5: 3},
        batch=3,
        questions=5,
        captions_only=captions_only,
    )

    def loss(step):
        return task.loss(torch.Generator().manual_seed(step), step)[0]

    assert loss(1).item() == loss(1).item()
    optimizer = torch.optim.Adam(task.trained().parameters(), lr=1e-2)
    first = loss(0).item()
    for _ in range(6):
        optimizer.zero_grad()
        loss(0).backward()
        optimizer.step()
    assert loss(0).item() < first - 0.5


def test_the_tower_and_the_projector_learn():
    scenes, rendered, ids = pictures(range(8))
    tower = build_tower(tower_config(width=8, depths=(1, 1, 1)))
    images = np.stack([picture.image for picture in rendered]).repeat(9, 0)
    task = TowerTask(tower, CROWD, images, ids.repeat(9, 0), batch=2, shown=2)
    loss, numbers = task.loss(torch.Generator().manual_seed(0), 0)
    assert loss.isfinite()
    assert set(numbers) == {"concept", "material", "background", "box", "middle"}
    projector = nn.Linear(32, 16)
    features = 5 + 3 * torch.randn(8, 64, 32, generator=torch.Generator().manual_seed(0))
    even_out(projector, features)
    assert projector(features).std() < 1.5
    wanted = features @ torch.randn(32, 16, generator=torch.Generator().manual_seed(1))
    align = AlignTask(projector, lambda numbers: (features[numbers], wanted[numbers]), 8, 4)
    optimizer = torch.optim.Adam(projector.parameters(), lr=0.5)
    losses = []
    for step in range(30):
        loss, _ = align.loss(torch.Generator().manual_seed(step), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
