import pytest

from weights.hub_place import HubPlace, parse_place

MIRROR = "https://mirror.example:8443"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("owner/name", ("owner/name", None, "")),
        ("owner/na.me-1_x", ("owner/na.me-1_x", None, "")),
        ("owner/name@v1.0", ("owner/name", "v1.0", "")),
        ("owner/name@refs/pr/3", ("owner/name", "refs/pr/3", "")),
        ("owner/name@refs/pr/3/unet", ("owner/name", "refs/pr/3", "unet")),
        ("owner/name/a b.safetensors", None),
        ("owner/name/a.safetensors", ("owner/name", None, "a.safetensors")),
        ("owner/name@main/sub/a.bin", ("owner/name", "main", "sub/a.bin")),
        ("h94/IP-Adapter/models/image_encoder", ("h94/IP-Adapter", None, "models/image_encoder")),
        ("https://huggingface.co/owner/name", ("owner/name", None, "")),
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
