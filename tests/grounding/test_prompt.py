"""The prompt document: validation, canonical form, one-line errors, JSON Schema."""

import json
import subprocess
import sys

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.errors import OutputError, PromptError
from grounding.prompt import (
    SCHEMA,
    Canvas,
    GroundedPrompt,
    Message,
    Provenance,
    Region,
    Relation,
    RleMask,
    Sampling,
)

EXAMPLE = {
    "schema": SCHEMA,
    "canvas": {"width": 640, "height": 480},
    "prompt": "a red apple beside a bowl",
    "negative_prompt": "blur",
    "background": "a table",
    "image": "photo.jpg",
    "regions": [
        {
            "id": "a1",
            "phrase": "red apple",
            "box": [0.1, 0.2, 0.4, 0.6],
            "points": [{"xy": [0.2, 0.3], "label": 1}],
            "strokes": [{"xy": [[0.2, 0.3]], "width": 0.02, "label": 0}],
            "polygon": [[[0.1, 0.2], [0.4, 0.2], [0.4, 0.6]]],
            "mask": {"size": [4, 3], "counts": [2, 4, 6]},
            "keypoints": [{"xy": [0.2, 0.3], "name": "stem", "visibility": 1}],
            "reference": {"image": "other.jpg", "region": "b2"},
            "audio": "name.wav",
            "attributes": {"color": "red", "ripe": True, "grams": 120, "size": 0.5},
            "z": -1,
            "score": None,
        },
        {"id": "b1", "phrase": "bowl", "box": [0, 0, 1, 1]},
    ],
    "relations": [["a1", "left of", "b1"]],
    "maps": {"depth": "depth.png"},
    "sampling": {"seed": 1, "steps": 50, "guidance": 7.5, "schedule": [0.3, 0.0, 0.7]},
    "segment": {"mode": "prompt", "classes": []},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "region", "ids": ["a1"]},
                {"type": "text", "text": "What is this?"},
            ],
        }
    ],
    "files": {"image": "out.png"},
    "provenance": {"model": "embedded", "settings": {"threads": 2}},
}

unit = st.floats(0, 1)
word = st.text(st.characters(codec="utf-8"), max_size=12)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    xs = sorted(draw(st.lists(unit, min_size=2, max_size=2, unique=True)))
    ys = sorted(draw(st.lists(unit, min_size=2, max_size=2, unique=True)))
    return xs[0], ys[0], xs[1], ys[1]


regions = st.builds(
    Region,
    phrase=word,
    box=st.none() | boxes(),
    z=st.integers(-5, 5),
    score=st.none() | unit,
    attributes=st.dictionaries(word, word | st.integers(-9, 9) | unit | st.booleans(), max_size=2),
)
prompts = st.builds(
    GroundedPrompt,
    prompt=word,
    negative_prompt=word,
    canvas=st.none() | st.builds(Canvas, width=st.integers(1, 999), height=st.integers(1, 999)),
    regions=st.lists(regions, max_size=4).map(tuple),
    sampling=st.builds(
        Sampling, seed=st.none() | st.integers(0, 2**63 - 1), guidance=st.none() | st.floats(0, 99)
    ),
)


def test_every_field_of_the_schema_survives() -> None:
    prompt = GroundedPrompt.model_validate(EXAMPLE)
    assert GroundedPrompt.model_validate(json.loads(prompt.canonical_json())) == prompt
    assert prompt.regions[0].strokes[0].label == 0
    assert prompt.relations == (Relation("a1", "left of", "b1"),)
    assert prompt.region("b1").phrase == "bowl"
    with pytest.raises(PromptError, match='no region has the id "zz"; the ids are: a1, b1'):
        prompt.region("zz")


@settings(max_examples=40)
@given(prompts)
def test_canonical_form_round_trips(prompt: GroundedPrompt) -> None:
    text = prompt.canonical_json()
    again = GroundedPrompt.model_validate(json.loads(text))
    assert again == prompt
    assert again.canonical_json() == text
    assert again.digest() == prompt.digest()


def test_canonical_form_does_not_depend_on_how_it_was_written() -> None:
    plain = GroundedPrompt.model_validate({"regions": [{"phrase": "é", "box": [0, 0, 1, 1]}]})
    spelled = GroundedPrompt.model_validate(
        {
            "messages": [],
            "regions": [{"z": 0, "box": [-0.0, 0.0, 1.0, 1.0], "phrase": "é", "id": "r1"}],
            "schema": SCHEMA,
        }
    )
    assert (
        plain.canonical_json()
        == spelled.canonical_json()
        == ('{"regions":[{"box":[0,0,1,1],"id":"r1","phrase":"é"}],"schema":"lavallama/prompt/v1"}')
    )
    assert plain.digest() != plain.replace(prompt="x").digest()
    # Pinned: a digest names files and caches, so it must not change between versions.
    assert plain.digest().startswith("e9f29888b1a58ab6")


def test_ids_are_assigned_by_position_without_collisions() -> None:
    prompt = GroundedPrompt.model_validate({"regions": [{}, {"id": "r1"}, {}, {"id": "x"}]})
    assert [region.id for region in prompt.regions] == ["r2", "r1", "r3", "x"]
    assert GroundedPrompt.model_validate(prompt.to_dict()) == prompt


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"regions": [{}, {"box": [0.6, 0, 0.2, 1]}]},
            "regions[1].box: x0 must be below x1, got 0.6 and 0.2; swap them",
        ),
        (
            {"regions": [{"box": [0, 0, 1.5, 1]}]},
            "regions[0].box[2]: must lie inside the canvas, 0 to 1, got 1.5",
        ),
        ({"regions": [{"box": [0, 0, 1]}]}, "regions[0].box: too few values, got 3"),
        (
            {"regions": [{"box": [0, 0, 1, float("nan")]}]},
            "regions[0].box[3]: expected a finite number, got NaN",
        ),
        ({"regions": [{"box": [0, 0, 1, 10**400]}]}, "expected a finite number, got Infinity"),
        ({"regions": [{"box": [0, 0, "1", 1]}]}, 'expected a number, got "1"'),
        ({"regions": [{"box": [0, 0, True, 1]}]}, "expected a number, got true"),
        ({"regions": [{"bbox": [0, 0, 1, 1]}]}, 'unknown field; did you mean "box"?'),
        ({"regions": [{"id": "a"}, {"id": "a"}]}, 'regions 0 and 1 share the id "a"'),
        ({"regions": [{"polygon": [[[0, 0], [1, 1]]]}]}, "regions[0].polygon[0]: "),
        ({"regions": [{"points": [{"label": 1}]}]}, "regions[0].points[0].xy: is missing"),
        ({"regions": [{"points": [{"xy": [0, 0], "label": 2}]}]}, "expected 0 or 1, got 2"),
        ({"regions": [{"attributes": {"a": [1]}}]}, "regions[0].attributes.a: expected text"),
        ({"regions": [{"attributes": {"a": float("inf")}}]}, "expected a finite number"),
        ({"regions": [{"reference": {}}]}, "a reference needs an image, a region or both"),
        ({"regions": [{"reference": {"region": "q"}}]}, "regions[0].reference: no region has"),
        ({"relations": [["a", "on", "b"]]}, 'relations[0]: no region has the id "a"'),
        (
            {"messages": [{"role": "user", "content": [{"type": "region", "ids": ["q"]}]}]},
            'messages[0].content[0]: no region has the id "q"',
        ),
        ({"messages": [{"role": "user", "content": [{}]}]}, 'expected a "type" of text, region'),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text: is missing",
        ),
        ({"sampling": {"steps": 0}}, "sampling.steps: expected at least 1, got 0"),
        ({"sampling": {"steps": 1.5}}, "sampling.steps: expected a whole number"),
        ({"sampling": {"schedule": [0.3, 0.3, 0.3]}}, "must add up to 1, got 0.9"),
        (
            {"sampling": {"scheduler": "euler"}},
            "expected 'plms', 'ddim', 'dpm++', 'unipc' or 'lcm'",
        ),
        ({"schema": "other/v2"}, "schema: expected 'lavallama/prompt/v1'"),
        ({"canvas": {"width": 10**9, "height": 1}}, "canvas.width: expected at most 16384"),
        ([1], "expected an object"),
    ],
)
def test_every_mistake_is_one_line_with_its_place(document: object, message: str) -> None:
    with pytest.raises(PromptError) as caught:
        GroundedPrompt.model_validate(document)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_constructors_raise_the_same_error() -> None:
    with pytest.raises(PromptError, match=r"^steps: expected at least 1, got 0$"):
        Sampling(steps=0)
    with pytest.raises(PromptError, match=r"^regions\[0\].box: y0 must be below y1"):
        GroundedPrompt(regions=({"box": (0, 1, 1, 0)},))  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="relations"):
        GroundedPrompt.model_validate(EXAMPLE).replace(regions=())


@pytest.mark.parametrize(
    ("size", "counts", "message"),
    [
        ((2, 2), (1, 2), "cover 3 pixels, its size 2 x 2 has 4"),
        ((2, 2), "é", "not COCO's RLE"),
        ((2, 2), "P", "cut off"),
        ((2, 2), (), "cover 0 pixels"),
        ((0, 2), (0,), "expected at least 1"),
        ((10**6, 10**6), (10**12,), "expected at most"),
    ],
)
def test_masks_must_fit_their_size(size: tuple, counts: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        RleMask(size=size, counts=counts)  # type: ignore[arg-type]


def test_documents_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        GroundedPrompt().prompt = "x"  # type: ignore[misc]
    assert isinstance(GroundedPrompt.model_validate(EXAMPLE).regions, tuple)


def test_sampling_fills_what_is_absent() -> None:
    asked = Sampling(steps=7, guidance=0.0)
    model = Sampling(steps=50, guidance=7.5, schedule=(0.3, 0.0, 0.7))
    assert asked.filled(model) == Sampling(steps=7, guidance=0.0, schedule=(0.3, 0.0, 0.7))
    assert Sampling(schedule=(0.7, 0.2, 0.1)).schedule == (0.7, 0.2, 0.1)  # 0.9999999999999999


def test_save_and_load(tmp_path) -> None:
    prompt = GroundedPrompt.model_validate(EXAMPLE)
    path = tmp_path / "prompt.json"
    prompt.save(path)
    assert GroundedPrompt.load(path) == prompt
    assert [file.name for file in tmp_path.iterdir()] == ["prompt.json"]
    prompt.save(tmp_path / "new" / "prompt.json")
    assert GroundedPrompt.load(tmp_path / "new" / "prompt.json") == prompt
    with pytest.raises(OutputError, match="cannot write"):
        prompt.save(path / "prompt.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", "is not valid JSON: .* \\(line 1, column 2\\)"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b"[" * 5000 + b"]" * 5000, "nested more than 64 deep"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested more than 64 deep"),
        (b'["' + b"[" * 200 + b'"]', "expected an object"),
        (b'{"regions": [{"box": [NaN, 0, 1, 1]}]}', r"regions\[0\].box\[0\]: .*finite.*NaN"),
        (b'{"regions": [{"box": [0, 0, Infinity, 1]}]}', "finite number, got Infinity"),
        (b'{"regions": [{"box": [0, 0, 1e999, 1]}]}', "finite number, got Infinity"),
        (b'{"prompt": 1' + b"1" * 5000 + b"}", "number too long"),
        (b'{"prompt": "a", "prompt": "b"}', "appears twice"),
        (b'{"prompt": "\\ud800"}', "prompt: holds bytes that are no text"),
    ],
)
def test_bad_files_give_one_line_that_names_them(tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(content)
    with pytest.raises(PromptError, match=message) as caught:
        GroundedPrompt.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_missing_file_folder_and_huge_file(tmp_path, monkeypatch) -> None:
    with pytest.raises(PromptError, match="no such file"):
        GroundedPrompt.load(tmp_path / "nothing.json")
    with pytest.raises(PromptError, match="is a folder"):
        GroundedPrompt.load(tmp_path)
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(64 * 2**20 + 1)  # sparse
    with pytest.raises(PromptError, match="larger than 64 MB"):
        GroundedPrompt.load(huge)


def test_json_schema_is_2020_12_and_agrees_with_the_models() -> None:
    schema = GroundedPrompt.json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(EXAMPLE)
    validator.validate(json.loads(GroundedPrompt.model_validate(EXAMPLE).canonical_json()))
    for wrong in (
        {"regions": [{"box": [0, 0, 1]}]},
        {"regions": [{"box": [0, 0, 1, 2]}]},
        {"regions": [{"bbox": [0, 0, 1, 1]}]},
        {"relations": [["a", "b"]]},
        {"sampling": {"steps": 0}},
        {"schema": "other"},
    ):
        assert not validator.is_valid(wrong), wrong


def test_every_field_is_described() -> None:
    schema = GroundedPrompt.json_schema()
    silent = [
        f"{name}.{field}"
        for name, part in {**schema["$defs"], "GroundedPrompt": schema}.items()
        for field, entry in part.get("properties", {}).items()
        if "description" not in entry and field != "type"
    ]
    assert silent == []


def test_the_module_prints_its_schema_and_imports_no_arrays() -> None:
    command = [sys.executable, "-m", "grounding.prompt"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == GroundedPrompt.json_schema()
    code = "import sys, grounding.prompt; print([m for m in ('torch','numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_messages_and_provenance_are_typed() -> None:
    message = Message.model_validate({"role": "user", "content": [{"type": "text", "text": "hi"}]})
    assert message.content[0].type == "text"
    with pytest.raises(PromptError, match="index: expected at least 0"):
        Provenance(index=-1)
