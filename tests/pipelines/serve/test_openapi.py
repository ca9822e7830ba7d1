"""The OpenAPI document says all there is, and what it says is so (schemathesis)."""

import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS, load_all_checks
from starlette.testclient import TestClient

from pipelines.serve.app import create_app
from pipelines.serve.settings import Settings
from tests.pipelines.serve.asking import file_of
from tests.seem.predicting import picture, tiny_predictor

APP = create_app(tiny_predictor())
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)
load_all_checks()
# What fits the schema may still lie beside the picture.
LENIENT = [CHECKS.get_one("positive_data_acceptance")]


@pytest.fixture(scope="module")
def ids() -> Iterator[dict[str, str]]:
    headers = {"Content-Type": "image/png"}
    with TestClient(APP, base_url="http://127.0.0.1") as client:  # the app is up for as long
        uploaded = client.post("/v1/images", content=file_of(picture()), headers=headers)
        assert uploaded.status_code == 201, uploaded.text
        image = uploaded.json()["image_id"]
        session = client.post("/v1/sessions", json={"image_id": image}).json()
        yield {"image_id": image, "session_id": session["session_id"]}


@SCHEMA.parametrize()
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_of_the_schema(case, ids: dict[str, str]) -> None:
    if case.method != "DELETE" and case.path_parameters:
        case.path_parameters = {name: ids[name] for name in case.path_parameters}
    response = case.call(base_url="http://127.0.0.1")
    assert response.status_code < 500, response.text
    case.validate_response(response, excluded_checks=LENIENT)


def operations() -> list[tuple[str, dict]]:
    paths = APP.openapi()["paths"].items()
    return [(f"{m} {path}", operation) for path, item in paths for m, operation in item.items()]


def test_every_error_is_documented_as_one_line() -> None:
    problem = {"$ref": "#/components/schemas/Problem"}
    for name, operation in operations():
        errors = {code: r for code, r in operation["responses"].items() if code >= "400"}
        assert {"400", "401", "429", "500", "503", "504"} <= set(errors), name
        assert "requestBody" not in operation or {"413", "415", "422"} <= set(errors), name
        for response in errors.values():
            assert response["content"]["application/json"]["schema"] == problem, name


def test_every_field_is_described() -> None:
    ours = {"Mask", "Answer", "Question", "DrawnMask", "FindRequest", "ImageInfo", "SessionAnswer"}
    schemas = APP.openapi()["components"]["schemas"]
    assert ours <= set(schemas)
    for name in ours:
        for field, schema in schemas[name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"


def test_every_operation_has_words() -> None:
    for name, operation in operations():
        assert operation["summary"], name
        assert operation["description"], name


def test_the_token_is_part_of_the_document() -> None:
    assert "security" not in json.dumps(APP.openapi())
    document = create_app(tiny_predictor(), Settings(token="x")).openapi()
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_operations_have_names_that_stay() -> None:
    names = {operation["operationId"]: name for name, operation in operations()}
    assert len(names) == len(operations())
    assert names["images_upload"] == "post /v1/images"
    assert names["sessions_undo"] == "post /v1/sessions/{session_id}/undo"
    assert not [name for name in names if "_v1_" in name]


def test_overlays_are_files_to_generated_clients() -> None:
    for name, operation in operations():
        if name.endswith("overlay.png"):
            content = operation["responses"]["200"]["content"]
            assert set(content) == {"image/png", "application/octet-stream"}, name
