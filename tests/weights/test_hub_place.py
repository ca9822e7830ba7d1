import pytest

from weights.hub_place import HubPlace, is_endpoint, parse_place

MIRROR = "https://mirror.example:8443"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("owner/name", ("owner/name", None, "")),
        ("owner/na.me-1_x", ("owner/na.me-1_x", None, "")),
        ("owner/name@v1.0", ("owner/name", "v1.0", "")),
        ("owner/name@refs/pr/3", ("owner/name", "refs/pr/3", "")),
        ("owner/name@refs/pr/3/unet", ("owner/name", "refs/pr/3", "unet")),
        ("owner/name/a b.safetensors", ("owner/name", None, "a b.safetensors")),
        (
            "https://huggingface.co/owner/name/resolve/main/a%20b.safetensors",
            ("owner/name", "main", "a b.safetensors"),
        ),
        ("owner/name/a.safetensors", ("owner/name", None, "a.safetensors")),
        ("owner/name@main/sub/a.bin", ("owner/name", "main", "sub/a.bin")),
        ("h94/IP-Adapter/models/image_encoder", ("h94/IP-Adapter", None, "models/image_encoder")),
        ("https://huggingface.co/owner/name", ("owner/name", None, "")),
        ("huggingface.co/owner/name/tree/v1", ("owner/name", "v1", "")),
        ("hf.co/owner/name", ("owner/name", None, "")),
        ("https://huggingface.co/owner/name/", ("owner/name", None, "")),
        ("https://hf.co/owner/name/tree/main", ("owner/name", "main", "")),
        ("https://huggingface.co/owner/name/tree/v2/unet", ("owner/name", "v2", "unet")),
        ("https://huggingface.co/owner/name/blob/main/a.pt", ("owner/name", "main", "a.pt")),
        (
            "https://huggingface.co/owner/name/resolve/refs%2Fpr%2F1/x/a.pt?download=true",
            ("owner/name", "refs/pr/1", "x/a.pt"),
        ),
        (f"{MIRROR}/owner/name/resolve/main/a.pt", ("owner/name", "main", "a.pt")),
        ("https://example.com/owner/name", None),
        ("https://huggingface.co/owner/name/discussions/3", None),
        ("https://huggingface.co/owner", None),
        ("nothing", None),
        ("", None),
        ("a/b c", None),
        ("../x/y", None),
        ("a/b/../c", None),
        ("-a/b-", None),
        ("a/b/c:d", None),
        ("/a/b", None),
        ("a/b/", None),
    ],
)
def test_what_a_user_may_write(written, expected):
    place = parse_place(written, endpoint=MIRROR)
    if expected is None:
        assert place is None
    else:
        repo, revision, inside = expected
        assert place == HubPlace(repo=repo, revision=revision, inside=inside)
        assert parse_place(str(place)) == place


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("https://api.example.com/openai/v1", True),
        ("https://huggingface.co/llava-hf/llava-1.5-7b-hf", False),
        (f"{MIRROR}/llava-hf/llava-1.5-7b-hf", False),
        ("llava-1.5-7b", False),
    ],
)
def test_an_address_is_no_page_of_the_hub(model, expected, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", MIRROR)
    assert is_endpoint(model) == expected
