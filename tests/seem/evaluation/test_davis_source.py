import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from seem.evaluation.davis_source import davis_source
from tests.seem.evaluation.folders import HEIGHT, WIDTH, davis_folder


def test_a_folder(tmp_path):
    source = davis_source(davis_folder(tmp_path))
    assert source.clip_count == 1
    [clip] = source.clips()
    assert clip.objects == [1, 2]  # 255 is void
    assert len(clip.frames) == 4
    assert clip.frames[0].shape == (HEIGHT, WIDTH, 3)
    assert (clip.ids[1] == 1).sum() == 100


def test_frames_may_lack_ids_but_for_the_first(tmp_path):
    folder = davis_folder(tmp_path)
    annotations = folder / "Annotations" / "480p" / "squares"
    (annotations / "00002.png").unlink()
    [clip] = davis_source(folder).clips()
    assert [ids is None for ids in clip.ids] == [False, False, True, False]
    (annotations / "00000.png").unlink()
    assert_lost(folder, r"ids of the first frame, 00000.png")


def assert_lost(folder, said):
    """Check that the film is left out and named."""
    source = davis_source(folder)
    assert list(source.clips()) == []
    with pytest.raises(PromptError, match=said):
        source.drops.refuse(folder)


@pytest.mark.parametrize(
    "broken", [b"", b"none", Image.fromarray(np.zeros((HEIGHT, 3, 3), np.uint8))]
)
def test_a_film_with_a_broken_frame_costs_itself(tmp_path, broken):
    folder = davis_folder(tmp_path)
    for kind in ("JPEGImages", "Annotations"):
        place = folder / kind / "480p"
        (place / "others").mkdir()
        for file in (place / "squares").iterdir():
            (place / "others" / file.name).write_bytes(file.read_bytes())
    (folder / "ImageSets" / "2017" / "val.txt").write_text("others\nsquares\n")
    frame = folder / "JPEGImages" / "480p" / "others" / "00002.jpg"
    frame.write_bytes(broken) if isinstance(broken, bytes) else broken.save(frame)
    source = davis_source(folder)
    assert [clip.name for clip in source.clips()] == ["squares"]
    with pytest.raises(PromptError, match="the first: others: a film"):
        source.drops.refuse(folder)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(PromptError, match=r"val.txt: expected the names"):
        davis_source(tmp_path)
    folder = davis_folder(tmp_path)
    listing = folder / "ImageSets" / "2017" / "val.txt"
    for text, said in (("bears\n", "no sequence 'bears'"), ("\n", "got none"), ("..\n", "'..'")):
        listing.write_text(text)
        with pytest.raises(PromptError, match=said):
            davis_source(folder)


def test_ids_must_be_a_palette_of_the_frames_size(tmp_path):
    folder = davis_folder(tmp_path)
    path = folder / "Annotations" / "480p" / "squares" / "00001.png"
    for image in (
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)),
        Image.fromarray(np.zeros((3, 4), np.uint8)),
    ):
        image.save(path)
        assert_lost(folder, "expected ids in a palette image of 60 x 40")
    path.write_bytes(b"none")
    assert_lost(folder, "is not a whole picture")
