"""What training is made of: matching, points, marks, phrases, words, batches, COCO's pictures."""

import itertools
import json

import numpy as np
import pytest
import torch

from grounding.broken import Broken
from grounding.errors import PromptError
from grounding.stickers.tokenizer import build_tokenizer
from seem.coco import panoptic_png
from seem.text_encoder import TextEncoder
from seem.train.batch import BatchMaker
from seem.train.coco_scenes import open_coco
from seem.train.losses import set_loss
from seem.train.marks import KINDS, draw_at_random
from seem.train.matching import UNMATCHED, match
from seem.train.paste import cut, paste
from seem.train.phrases import say
from seem.train.points import draw_points, mask_costs, mask_losses, owners_at, read_at
from seem.train.scenes import Lexicon, Record, RenderedScenes, rendered
from seem.train.words import learn_words
from tests.seem.train.folders import coco_folder

LEXICON = Lexicon(concepts=("llama", "dog", "car"), materials=("lava", "ice"), backgrounds=("sea",))


def test_matching_is_the_cheapest_assignment():
    cost = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([[True, True, True], [True, False, True]])
    found = match(cost, present)
    for p in range(2):
        targets = present[p].nonzero()[:, 0].tolist()
        best = min(
            itertools.permutations(range(5), len(targets)),
            key=lambda queries: sum(cost[p, q, t] for q, t in zip(queries, targets, strict=True)),
        )
        wanted = dict(zip(best, targets, strict=True))
        assert found[p].tolist() == [wanted.get(q, UNMATCHED) for q in range(5)]


def test_costs_are_the_losses_of_every_pair():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, 50, generator=generator)
    truth = (torch.rand(1, 3, 50, generator=generator) > 0.5).float()
    entropy, dice = mask_costs(logits, truth)
    for q, m in itertools.product(range(4), range(3)):
        one = mask_losses(logits[0, q], truth[0, m])
        assert entropy[0, q, m] == pytest.approx(one[0].item(), rel=1e-5)
        assert dice[0, q, m] == pytest.approx(one[1].item(), rel=1e-5)


def test_features_are_read_where_the_owners_are():
    ids = np.zeros((1, 32, 32), np.uint8)
    ids[0, 8:24, 4:20] = 3
    points = draw_points(ids, 400, np.random.default_rng(0))
    owners = owners_at(ids, points)
    features = torch.from_numpy(ids.astype(np.float32))[:, None]
    read = read_at(features, points)[:, 0]
    far = (read < 0.01) | (read > 2.99)
    assert far.float().mean() > 0.4, "points far from edges"
    assert far.float().mean() < 0.9, "points near edges"
    assert torch.equal((read > 1.5)[far], (owners == 3)[far])


def test_a_perfect_answer_costs_little_and_any_other_more():
    owners = torch.tensor([[0, 0, 1, 1, 2, 2]])
    masks = torch.full((1, 1, 3, 6), -20.0)
    for query, owner in enumerate((1, 2)):
        masks[0, 0, query, owners[0] == owner] = 20.0
    names = torch.full((1, 1, 3, 4), -20.0)
    names[0, 0, 0, 0] = names[0, 0, 1, 2] = names[0, 0, 2, 3] = 20.0
    good, _ = set_loss(names, masks, owners, [{1: 0, 2: 2}])
    assert good.item() < 1e-3
    renamed, _ = set_loss(names, masks, owners, [{1: 1, 2: 2}])
    assert renamed.item() > 1
    missed, _ = set_loss(names, -masks, owners, [{1: 0, 2: 2}])
    assert missed.item() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_shows_the_object(kind):
    truth = np.zeros((64, 64), bool)
    truth[20:40, 10:50] = True
    for seed in range(20):
        drawn = kind(truth, np.random.default_rng(seed))
        assert (drawn.positive & truth).any(), kind
        assert not (drawn.negative & truth).all()
        assert not (drawn.positive & drawn.negative).any()


def test_the_smallest_object_can_be_drawn_in_every_way():
    truth = np.zeros((32, 32), bool)
    truth[0, 31] = True
    for seed in range(60):
        assert draw_at_random(truth, np.random.default_rng(seed)).positive.any()


def test_what_is_said_fits_what_is_meant():
    record = Record(
        background="sea",
        concepts=("llama", "llama", "dog", None),
        materials=("lava", None, "ice", None),
    )
    boxes = {
        0: (0.0, 0.0, 1.0, 1.0),
        1: (0.0, 0.4, 0.2, 0.6),
        2: (0.7, 0.4, 0.9, 0.6),
        3: (0.0, 0.0, 0.2, 0.2),
        4: (0.4, 0.7, 0.6, 0.9),
    }
    meant = {}
    for seed in range(800):
        said = say(record, boxes, LEXICON, np.random.default_rng(seed))
        bare = said.text.removeprefix("the ").removeprefix("a ").removeprefix("an ")
        assert meant.setdefault(bare, said.means) == said.means
    assert meant["llama"] == (1, 2)
    assert meant["lava llama"] == (1,)
    assert meant["lava"] == (1,)
    assert meant["sea"] == (0,)
    assert meant["car"] == ()
    assert meant["llama on the left"] == (1,)
    assert meant["llama on the right"] == (2,)
    assert meant["dog above the lava llama"] == (3,)


def test_words_are_learned_apart_and_materials_modify():
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    encoder = TextEncoder(
        width=32, dim=32, heads=2, layers=1, context=40, vocabulary=len(tokenizer)
    )
    assert learn_words(encoder, tokenizer, LEXICON, steps=120) > 0.9
    read = tokenizer(["llama", "lava llama", "dog"], padding=True, return_tensors="pt")
    with torch.no_grad():
        said = encoder(read["input_ids"], read["attention_mask"]).embeddings
    assert said[0] @ said[1] > 0.6 > 0.3 > said[0] @ said[2]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> RenderedScenes:
    return rendered(tmp_path_factory.mktemp("scenes"), "crowd", 12, 6)


def test_scenes_are_rendered_once_and_say_whose_pixels_are_whose(scenes):
    assert scenes.images.shape == (18, 128, 128, 3)
    for ids, record in zip(scenes.ids, scenes.records, strict=True):
        assert ids.max() <= len(record.concepts)
    assert all(record.background for record in scenes.records[:12])
    assert not any(record.background for record in scenes.records[12:])


def test_the_same_seed_draws_the_same_batch(scenes):
    maker = BatchMaker(scenes)
    one, two = (maker.draw(4, 64, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one.pixels, two.pixels)
    assert one.pixels.shape == (4, 3, 64, 64)
    assert [p.said for p in one.pictures] == [p.said for p in two.pictures]


def test_coco_pictures_are_cut_to_size_with_their_segments(tmp_path):
    scenes = open_coco(coco_folder(tmp_path), 64)
    assert scenes.vocabulary.things == ("dog",)
    assert scenes.vocabulary.stuff == ("grass",)
    for number in range(4):
        image, ids = scenes.read(number, np.random.default_rng(number))
        assert image.shape == (64, 64, 3)
        record = scenes.records[number]
        dark = image.astype(int).sum(-1) < 200
        dog = record.concepts.index("dog") + 1
        assert (dark == (ids == dog)).mean() > 0.95


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(annotations=[]), "expected annotated images"),
        (lambda d: [a.update(image_id=77) for a in d["annotations"]], "image_id: 77"),
        (lambda d: [a.update(segments_info=[]) for a in d["annotations"]], "without a segment"),
        (lambda d: d["annotations"][0].pop("segments_info"), "segments_info: is missing"),
        (lambda d: d.update(annotations=[{"bbox": [1, 2, 3, 4]}]), "detection2panoptic"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, change, words):
    path = coco_folder(tmp_path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(PromptError, match=words) as error:
        open_coco(path, 64)
    assert "\n" not in str(error.value)


def spoil(folder, how):
    picture, png = folder / "images" / "1.jpg", folder / "panoptic_mine" / "1.png"
    if how == "no picture":
        picture.unlink()
    elif how == "no map":
        png.unlink()
    elif how == "another size":
        png.write_bytes((folder / "other.png").read_bytes())
    else:
        png.write_bytes(png.read_bytes()[:-60])


@pytest.mark.parametrize("how", ["no picture", "no map", "another size", "a map that is cut off"])
def test_what_cannot_be_read_is_told_first_and_passed_over(tmp_path, how):
    path = coco_folder(tmp_path)
    (tmp_path / "other.png").write_bytes(panoptic_png(np.ones((20, 20), np.int32)))
    spoil(tmp_path, how)
    scenes, seen = open_coco(path, 64), Broken()
    seen.check(path, [scenes.name(number) for number in range(4)], scenes.look)
    assert bool(seen.drops.count) is (how != "a map that is cut off")  # which its header hides
    maker = BatchMaker(scenes, pasted=0.5)
    batches = [maker.draw(4, 64, np.random.default_rng(seed)) for seed in range(3)]
    assert ".png" in (named := maker.broken.drops.named["cannot be read"][0]) or ".jpg" in named
    again = BatchMaker(open_coco(path, 64), pasted=0.5, broken=seen)
    for seed, batch in enumerate(batches):
        other = again.draw(4, 64, np.random.default_rng(seed))
        assert torch.equal(batch.pixels, other.pixels)
        assert np.array_equal(batch.ids, other.ids)


def test_segments_that_make_no_sense_are_counted(tmp_path):
    path = coco_folder(tmp_path)
    data = json.loads(path.read_text())
    for number, change in enumerate(({"id": 0}, {"category_id": 1}, {"area": 1268.5})):
        data["annotations"][number]["segments_info"][0].update(change)
    data["annotations"][3]["segments_info"] = []
    path.write_text(json.dumps(data))
    scenes = open_coco(path, 64)
    drops = scenes.drops
    assert len(scenes.records) == drops.pictures == len(data["annotations"]) - 1
    assert drops.lost_regions == {
        "a segment that makes no sense": 1,
        "a category that the file does not name": 1,
    }
    assert drops.lost_pictures == {"a picture without a segment": 1}


def test_pasted_objects_are_the_last_and_hide_what_they_lie_on(scenes):
    image, ids = scenes.images[0], scenes.ids[0]
    record = scenes.records[0]
    number = int(ids.max())
    piece = cut(image, ids, record, number)
    assert piece is not None
    chance = np.random.default_rng(3)
    new_image, new_ids, new_record = paste(image, ids, record, piece, chance)
    own = len(new_record.concepts)
    assert new_record.phrases[:-1] == record.phrases
    assert new_record.phrases[-1] == record.phrases[number - 1]
    changed = (new_image != image).any(-1)
    assert (new_ids == own).sum() > 20
    assert not (changed & (new_ids != own)).any()
    assert np.array_equal(new_ids[new_ids != own], ids[new_ids != own])


def test_crowded_pictures_show_more_and_name_it(scenes):
    def objects(maker):
        batches = [maker.draw(8, 64, np.random.default_rng(seed)) for seed in range(4)]
        return sum(len(p.boxes) for batch in batches for p in batch.pictures)

    assert objects(BatchMaker(scenes, pasted=1.0)) > 1.3 * objects(BatchMaker(scenes))
