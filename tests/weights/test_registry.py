import pytest

from grounding.errors import CheckpointError
from grounding.llava.template import TEMPLATES
from weights import registry
from weights.hub_place import parse_place


def test_every_known_model_can_be_asked_for():
    for name, known in registry.KNOWN.items():
        assert registry.lookup(name) is known
        place = parse_place(known.source)
        assert place is not None
        assert (place.repo, place.inside) == (known.repo, known.file or "")
        assert "/" not in name


def test_every_known_segmenter_can_be_asked_for():
    for name, known in registry.SEGMENTERS.items():
        assert registry.lookup_segmenter(name) is known
        same_file = registry.lookup_segmenter(known.source)
        assert same_file is not None
        assert same_file.file == known.file
        assert (same_file is known) == (not name.endswith("-demo"))
        place = parse_place(known.source)
        assert place is not None
        assert (place.repo, place.inside) == (known.repo, known.file or "")
        assert name not in registry.KNOWN
    assert registry.lookup_segmenter("seem") is None


def test_every_known_chat_can_be_asked_for():
    for name, known in registry.CHATS.items():
        assert registry.lookup_chat(name) is known
        assert registry.lookup_chat(known.source) is known
        place = parse_place(known.source)
        assert place is not None
        assert place.repo == known.repo
        assert known.template in TEMPLATES
        assert name not in registry.KNOWN
    assert registry.lookup_chat("llava") is None


def test_adapters_name_their_base():
    for known in registry.KNOWN.values():
        if known.use == "adapter":
            assert known.base is not None
            base = registry.lookup(known.base)
            assert base is not None
            assert base.use in ("base", "both")
        else:
            assert known.base is None


def test_names_may_have_a_revision_or_be_a_page():
    for name in ("sd14@fp16", "CompVis/stable-diffusion-v1-4@main"):
        assert registry.lookup(name) is registry.KNOWN["sd14"]
    page = "https://huggingface.co/xdecoder/SEEM/blob/main/seem_focalt_v0.pt"
    assert registry.lookup_segmenter(page) is registry.SEGMENTERS["seem-focalt-v0"]
    assert registry.lookup_chat("llava-next-34b@v1") is registry.CHATS["llava-next-34b"]
    assert registry.lookup_segmenter("xdecoder/SEEM") is None


def test_unknown_names():
    assert registry.lookup("llama") is None
    with pytest.raises(CheckpointError, match="not in this installation"):
        registry.embedded("no-such-part")


def test_every_official_gligen_has_a_name():
    """The ten of https://github.com/gligen/GLIGEN."""
    kinds = ("text-box", "text-image-box", "keypoint", "hed", "canny", "depth", "sem", "normal")
    repos = {f"gligen/gligen-generation-{kind}" for kind in kinds}
    repos |= {f"gligen/gligen-inpainting-{kind}" for kind in kinds[:2]}
    assert repos <= {known.repo for known in registry.KNOWN.values()}
