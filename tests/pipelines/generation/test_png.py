import io
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt, Region
from pipelines.generation.png import KEYWORD, encode_png, read_png

IMAGE = Image.new("RGB", (8, 8), (200, 30, 0))


def test_round_trip(tmp_path: Path):
    document = GroundedPrompt(
        prompt='лама 🦙 "quoted"\n\x00', regions=(Region(phrase="é", box=(0.1, 0.2, 0.3, 1 / 3)),)
    )
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(IMAGE, document))
    assert read_png(path) == document
    with Image.open(path) as image:
        assert image.tobytes() == IMAGE.tobytes()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", "null", '{"schema": "other/v9"}', '{"prompt": 3}', "[" * 5000, '{"x": NaN}'],
)
def test_metadata_of_strangers(tmp_path: Path, text: str):
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEYWORD, text)
    buffer = io.BytesIO()
    IMAGE.save(buffer, "PNG", pnginfo=info)
    path = tmp_path / "a.png"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(PromptError, match=r"a\.png"):
        read_png(path)


def test_a_cut_file_says_so_or_still_holds_its_document(tmp_path: Path):
    document = GroundedPrompt(prompt="x")
    whole = encode_png(IMAGE, document)
    path, refused = tmp_path / "a.png", 0
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            assert read_png(path) == document
        except PromptError:
            refused += 1
    assert refused > 10
