"""What strangers send: each is refused with one line, nothing is kept, the server stays well."""

import gc
import io
import json
import struct
import zlib

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.pipelines.serve.asking import Api, file_of, refusal
from tests.seem.predicting import picture

JSON = {"Content-Type": "application/json"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG that says it is that large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def webp(width: int, height: int) -> bytes:
    """A WebP whose canvas is that large."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + sides
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg() -> bytes:
    return file_of(picture(), "JPEG")


def scans(count: int, side: int = 64) -> bytes:
    """A progressive JPEG whose scans refine nothing, each of which is decoded (T.81, G)."""

    def segment(marker: int, data: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data

    code = bytes([1] + [0] * 15)
    head = b"\xff\xd8" + segment(0xDB, bytes(1) + b"\1" * 64)
    head += segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    head += segment(0xC4, b"\x00" + code + b"\x00") + segment(0xC4, b"\x10" + code + b"\xe0")
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes((side // 8) ** 2 // 8)
    more = segment(0xDA, b"\1\1\0\1\x3f\x10") + b"\x7f\x7f"
    return head + first + more * count + b"\xff\xd9"


UPLOADS = {
    "nothing": (b"", 422),
    "a PNG of 50,000 x 50,000": (png(50_000, 50_000), 413),
    "a WebP of 16,383 x 16,383": (webp(16_383, 16_383), 413),
    "a PNG of 20,000 x 1": (png(20_000, 1), 413),
    "a PNG without pixels": (png(0, 7), 422),
    "a PNG with too few pixels": (png(64, 64, bytes(100)), 422),
    "a PNG with a bomb inside": (png(4, 4, bytes(10**7)), 201),
    "a JPEG cut off in its pixels": (jpeg()[:-400], 422),
    "a JPEG cut off in its header": (jpeg()[:40], 422),
    "a JPEG of markers alone": (b"\xff\xd8" + b"\xff" * 10_000, 422),
    "a WebP cut off": (webp(9, 9)[:22], 422),
    "a WebP without a picture": (webp(9, 9), 422),
    "an SVG": (SVG, 415),
    "a GIF": (file_of(picture()[..., 0], "GIF"), 415),
    "a TIFF": (file_of(picture(), "TIFF"), 415),
    "a JPEG of fill bytes": (b"\xff\xd8" + b"\xff" * 2**20, 422),
    "a JPEG of empty segments": (b"\xff\xd8" + b"\xff\xfe\x00\x02" * 2**18, 422),
    "a JPEG of 1000 scans": (scans(1000), 422),
    "a JPEG of 100 scans of 4096 x 4096": (scans(100, 4096), 413),
    "a JPEG of 64 scans": (scans(64), 201),
    "16 bits a channel": (file_of(picture()[..., 0].astype(np.uint16)), 201),
    "a path": (b"/etc/passwd", 415),
    "an address": (b"http://127.0.0.1:22/", 415),
}
QUESTIONS = {
    "nothing is asked": ({}, 422),
    "10,000 points": ({"points": [[1, 1]] * 10_000}, 422),
    "NaN": ('{"points": [[NaN, 1]]}', 422),
    "infinity": ('{"box": [0, 0, Infinity, 1]}', 422),
    "1e999": ('{"points": [[1e999, 1]]}', 422),
    "a huge integer": ('{"points": [[' + "9" * 5000 + ", 1]]}", 400),
    "a place as text": ({"points": [["1", "1"]]}, 422),
    "a place in three dimensions": ({"points": [[1, 1, 1]]}, 422),
    "a label that is none": ({"points": [[1, 1]], "labels": [2]}, 422),
    "labels without points": ({"labels": [1]}, 422),
    "more labels than points": ({"points": [[1, 1]], "labels": [1, 1]}, 422),
    "beside the picture": ({"points": [[70, 1]]}, 422),
    "a box inside out": ({"box": [9, 9, 3, 3]}, 422),
    "only negative marks": ({"points": [[1, 1]], "labels": [0]}, 422),
    "no words": ({"text": "   "}, 422),
    "a book": ({"text": "llama " * 1000}, 422),
    "a lone surrogate": ('{"text": "\\ud800"}', 422),
    "an unknown field": ({"point": [[1, 1]]}, 422),
    "a mask of another size": ({"mask": {"size": [9, 9], "counts": [81]}}, 422),
    "a mask of 16384 x 16384": ({"mask": {"size": [16384, 16384], "counts": [2**28]}}, 422),
    "a mask whose runs do not fit": ({"mask": {"size": [50, 70], "counts": [1]}}, 422),
    "a mask of negative runs": ({"mask": {"size": [50, 70], "counts": "nP"}}, 422),
    "an empty mask": ({"mask": {"size": [50, 70], "counts": [3500]}}, 422),
    "a mask that is no base64": ({"mask": {"png": "%%%"}}, 422),
    "a mask that is no PNG": ({"mask": {"png": "aGVsbG8="}}, 415),
    "a mask that is both": ({"mask": {"size": [50, 70], "counts": [3500], "png": "a"}}, 422),
    "an unknown reference": ({"reference": {"image_id": "x", "points": [[1, 1]]}}, 404),
    "no JSON": ("{", 400),
    "nested too deeply": ("[" * 100_000, 400),
    "a key twice": ('{"text": "a", "text": "b"}', 400),
    "no UTF-8": (b'{"text": "\xff"}', 400),
    "a list": ("[]", 422),
    "nothing": ("", 422),
}
DOCUMENTS = {
    "no document": ({"regions": 3}, 422),
    "nothing said of a region": ({"regions": [{}]}, 422),
    "65 regions": ({"regions": [{"phrase": "llama"}] * 65}, 422),
    "1000 points": ({"regions": [{"points": [{"xy": [0.5, 0.5]}] * 1000}]}, 422),
    "a large mask": (
        {"regions": [{"mask": {"size": [16384, 16384], "counts": [0, 2**28]}}]},
        422,
    ),
    "a path": ({"regions": [{"reference": {"image": "/etc/passwd"}}]}, 404),
    "an address": ({"regions": [{"reference": {"image": "http://127.0.0.1:22/"}}]}, 404),
    "panoptic of nothing": ({"segment": {"mode": "panoptic"}}, 422),
}


@pytest.fixture(scope="module")
def image(api: Api) -> str:
    return api.upload()


@pytest.mark.parametrize("name", UPLOADS)
def test_uploads(api: Api, name: str) -> None:
    data, status = UPLOADS[name]
    response = api.send(data)
    if status == 201:  # what lies behind the pixels is never unpacked
        assert response.status_code == 201
    else:
        refusal(response, status)


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions(api: Api, image: str, name: str) -> None:
    refusal(ask(api, f"/v1/images/{image}/segment", QUESTIONS[name][0]), QUESTIONS[name][1])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(api: Api, image: str, name: str) -> None:
    data, status = DOCUMENTS[name]
    refusal(ask(api, f"/v1/images/{image}/document", data), status)


def ask(api: Api, path: str, body: object):
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return api.call("POST", path, content=text, headers=JSON)


def test_the_name_of_a_file_is_ignored(api: Api) -> None:
    for name in ("/etc/passwd", "../../x.png", "CON"):
        files = {"file": (name, file_of(picture()), "image/png")}
        assert api.call("POST", "/v1/images", files=files).status_code == 201


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"files": {"file": ("x.png", b"/etc/passwd")}}, 415),
        ({"files": {"picture": ("x.png", b"")}}, 422),
        ({"files": [("file", ("a", b"a")), ("file", ("b", b"b"))]}, 422),
        ({"data": {"file": "/etc/passwd"}}, 415),  # a form in an address's manner
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 422),
        ({"content": b"\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 422),
        ({"content": b"--xy", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 422),
    ],
)
def test_forms(api: Api, form: dict, status: int) -> None:
    refusal(api.call("POST", "/v1/images", **form), status)


@pytest.mark.parametrize("kind", ["text/plain", "image/svg+xml", "application/json", ""])
def test_content_types_of_uploads(api: Api, kind: str) -> None:
    refusal(api.send(file_of(picture()), kind), 415)


def test_content_types_of_questions(api: Api, image: str) -> None:
    path, body = f"/v1/images/{image}/segment", b'{"text": "llama"}'
    for headers in ({"Content-Type": "text/plain"}, {}):
        refusal(api.call("POST", path, content=body, headers=headers), 415)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/images/image_x", 404),
        ("DELETE", "/v1/images/image_x", 404),
        ("GET", "/v1/images/" + "x" * 1000, 422),
        ("GET", "/v1/images/..%2f..%2fetc%2fpasswd", 404),
        ("POST", "/v1/sessions/session_x/undo", 404),
        ("GET", "/v1/sessions/session_x/overlay.png", 404),
        ("GET", "/v2", 404),
        ("PUT", "/v1/images", 405),
        ("BREW", "/v1/images", 405),
    ],
)
def test_wrong_places(api: Api, method: str, path: str, status: int) -> None:
    refusal(api.call(method, path), status)


def test_what_a_path_takes(api: Api, image: str) -> None:
    response = api.call("PATCH", f"/v1/images/{image}")
    refusal(response, 405)
    assert response.headers["allow"] == "DELETE, GET, HEAD"


def test_memory_is_flat_over_all_of_it(api: Api, image: str) -> None:
    def everything() -> None:
        for data, status in UPLOADS.values():
            if status != 201:
                api.send(data)
        for data, _ in QUESTIONS.values():
            ask(api, f"/v1/images/{image}/segment", data)
        gc.collect()

    everything()
    before, kept = psutil.Process().memory_info().rss, len(api.desk.images)
    for _ in range(3):
        everything()
    assert len(api.desk.images) == kept
    assert psutil.Process().memory_info().rss - before < 32 * 2**20


def test_an_animation_is_its_first_frame(api: Api) -> None:
    frames = [Image.fromarray(picture(seed)) for seed in (0, 1)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    moving = api.send(file.getvalue(), "image/webp").json()["image_id"]
    question = {"points": [[30, 30]]}
    said = [api.post(f"/v1/images/{i}/segment", question).json() for i in (moving, api.upload())]
    assert said[0] == said[1]
