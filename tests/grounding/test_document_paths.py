from pathlib import Path

import pytest

from grounding.document_paths import name_from, path_from, place_beside
from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt

NAMES = {"image": "a.png", "reference": "b.png", "map": "c.png", "audio": "d.wav", "shown": "e.png"}


def document(folder: str = "", **names: str) -> GroundedPrompt:
    said = {kind: folder + name for kind, name in (NAMES | names).items()}
    return GroundedPrompt.model_validate(
        {
            "image": said["image"],
            "files": {"image": said["image"], "overlay": "over.png"},
            "maps": {"depth": said["map"]},
            "regions": [{"reference": {"image": said["reference"]}, "audio": said["audio"]}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": said["shown"]},
                        {"type": "audio", "audio": said["audio"]},
                    ],
                }
            ],
        }
    )


def test_all_that_a_document_names_moves_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES.values():
        path = tmp_path / "pics" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    typed = document("pics/")  # as it is typed at the command line
    written = name_from(typed, "out/deep")
    assert written == document("../../pics/")
    placed = place_beside(written, Path("out/deep"))
    for name in NAMES.values():
        assert f"out/deep/../../pics/{name}" in placed.canonical_json()
    assert placed.files["overlay"] == "over.png"
    again = name_from(place_beside(document(), "pics"), "pics")
    assert again == document()


@pytest.mark.parametrize("name", ["data:image/png;base64,AAAA", "https://example.org/a.png"])
def test_what_is_no_file_keeps_its_name(name, tmp_path):
    told = document(image=name)
    assert name_from(told, tmp_path).image == name
    assert place_beside(told, tmp_path).image == name


def test_an_address_whose_file_lies_beside_is_found(tmp_path):
    (tmp_path / "a b.png").touch()
    told = GroundedPrompt(image="http://localhost:8080/data/upload/4/a%20b.png")
    assert place_beside(told, tmp_path).image == str(tmp_path / "a b.png")


def test_links_lead_where_the_system_follows_them(tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "far" / "away")
    (tmp_path / "a.png").touch()
    name = path_from(tmp_path / "out", tmp_path / "a.png")
    assert (tmp_path / "out" / name).is_file()


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(PromptError, match="null character"):
        place_beside(GroundedPrompt(image="a\0b.png"), tmp_path)
