"""Sessions over HTTP are `seem.session.Session`, and each user has their own."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from seem.session import Session
from tests.pipelines.serve.asking import Api, file_of, refusal, same
from tests.seem.predicting import picture, ready, refined_predictor, tiny_predictor

CLICKS = [([30, 30], 1), ([5, 40], 0), ([60, 10], 1)]


@pytest.fixture
def session(api: Api) -> str:
    return f"/v1/sessions/{api.begin(api.upload())}"


def click(api: Api, session: str, place: list[int], label: int = 1) -> dict:
    response = api.post(f"{session}/marks", {"points": [place], "labels": [label]})
    assert response.status_code == 200, response.text
    return response.json()


def test_marks_add_up(api: Api, session: str) -> None:
    expected = Session(ready())
    for count, (place, label) in enumerate(CLICKS, start=1):
        said = click(api, session, place, label)
        masks, scores, _ = expected.click(*place, label)
        assert said["rounds"] == count
        assert same(said["mask"], masks[0], scores[0])
    said = api.post(f"{session}/marks", {"text": "llama", "box": [3, 3, 50, 40]}).json()
    masks, scores, _ = expected.add(text="llama", box=[3, 3, 50, 40])
    assert same(said["mask"], masks[0], scores[0])
    assert api.get(session).json() == said


def test_undo_and_redo_bring_back_the_same_bits(api: Api, session: str) -> None:
    said = [click(api, session, *clicked) for clicked in CLICKS]
    assert api.post(f"{session}/undo").json() == said[1]
    assert api.post(f"{session}/undo").json() == said[0]
    assert "mask" not in api.post(f"{session}/undo").json()
    assert "nothing to undo" in refusal(api.post(f"{session}/undo"), 409)
    assert [api.post(f"{session}/redo").json() for _ in CLICKS] == said
    assert "nothing to redo" in refusal(api.post(f"{session}/redo"), 409)


def test_saying_more_forgets_what_was_undone(api: Api, session: str) -> None:
    said = [click(api, session, *clicked) for clicked in CLICKS[:2]]
    api.post(f"{session}/undo")
    assert click(api, session, *CLICKS[1]) == said[1]
    refusal(api.post(f"{session}/redo"), 409)


def test_reset_forgets_all_marks(api: Api, session: str) -> None:
    first = click(api, session, [30, 30])
    assert api.post(f"{session}/reset").json()["rounds"] == 0
    assert click(api, session, [30, 30]) == first


def test_a_wrong_mark_leaves_the_session_as_it_was(api: Api, session: str) -> None:
    said = click(api, session, [30, 30])
    for wrong in ({"points": [[999, 1]]}, {}, {"labels": [1]}, {"text": " "}):
        refusal(api.post(f"{session}/marks", wrong), 422)
    assert api.get(session).json() == said


def test_overlay(api: Api, session: str) -> None:
    plain = api.get(f"{session}/overlay.png").content
    click(api, session, [30, 30])
    response = api.get(f"{session}/overlay.png")
    assert response.headers["content-type"] == "image/png"
    drawn = Image.open(io.BytesIO(response.content))
    assert min(drawn.size) >= 512
    assert not np.array_equal(np.asarray(drawn), np.asarray(Image.open(io.BytesIO(plain))))


def test_delete(api: Api, session: str) -> None:
    assert api.call("DELETE", session).status_code == 204
    refusal(api.get(session), 404)
    refusal(api.call("DELETE", session), 404)


def test_a_session_ends_with_its_picture(api: Api) -> None:
    image = api.upload()
    session = api.begin(image)
    assert api.call("DELETE", f"/v1/images/{image}").status_code == 204
    refusal(api.get(f"/v1/sessions/{session}"), 404)
    assert session not in api.desk.sessions


def test_rounds_are_bounded(make_api) -> None:
    api = make_api(rounds=2)
    session = f"/v1/sessions/{api.begin(api.upload())}"
    for _ in range(2):
        click(api, session, [30, 30])
    assert "keeps 2 rounds" in refusal(api.post(f"{session}/marks", {"text": "llama"}), 409)
    assert api.post(f"{session}/undo").status_code == 200
    click(api, session, [30, 30])


def test_sessions_make_room_and_weigh_what_they_hold(make_api) -> None:
    api = make_api(sessions=2)
    image = api.upload()
    first, second = api.begin(image), api.begin(image)
    click(api, f"/v1/sessions/{second}", [30, 30])
    assert api.desk.sessions.bytes > 0
    click(api, f"/v1/sessions/{first}", [30, 30])
    api.begin(image)
    refusal(api.get(f"/v1/sessions/{second}"), 404)
    assert api.get(f"/v1/sessions/{first}").status_code == 200


def test_users_at_one_time_do_not_mix(api: Api) -> None:
    """Eight users, each with a picture and clicks of their own, all at once."""
    predictor = tiny_predictor()

    async def use(user: int) -> list[dict]:
        name = (await api.http.post(**upload(user))).json()["image_id"]
        begun = await api.http.post("/v1/sessions", json={"image_id": name})
        path = f"/v1/sessions/{begun.json()['session_id']}"
        answers = []
        for place, label in clicks(user):
            asked = {"points": [place], "labels": [label]}
            answers.append((await api.http.post(f"{path}/marks", json=asked)).json())
        undone = (await api.http.post(f"{path}/undo")).json()
        assert undone == answers[-2]
        return answers

    async def all_at_once() -> list[list[dict]]:
        return await asyncio.gather(*map(use, range(8)))

    for user, answers in enumerate(api.run(all_at_once())):
        predictor.set_image(picture(user))
        alone = Session(predictor)
        for said, (place, label) in zip(answers, clicks(user), strict=True):
            masks, scores, _ = alone.click(*place, label)
            assert same(said["mask"], masks[0], scores[0])


def upload(user: int) -> dict:
    file = io.BytesIO()
    Image.fromarray(picture(user)).save(file, "PNG")
    headers = {"Content-Type": "image/png"}
    return {"url": "/v1/images", "content": file.getvalue(), "headers": headers}


def clicks(user: int) -> list[tuple[list[int], int]]:
    return [([10 + 5 * user, 12], 1), ([60 - 5 * user, 40], user % 2), ([35, 5 + 4 * user], 1)]


MASK = {"size": [50, 70], "counts": [0, 1750, 1750]}


def test_undone_rounds_are_not_weighed_for_ever(api: Api, session: str) -> None:
    before = api.desk.sessions.bytes
    for _ in range(3):
        assert api.post(f"{session}/marks", {"mask": MASK}).status_code == 200
        weight = api.desk.sessions.bytes - before
        assert weight >= 50 * 70
        assert api.post(f"{session}/undo").json()["rounds"] == 0
        assert api.desk.sessions.bytes - before == weight  # it can be redone
    api.post(f"{session}/marks", {"mask": MASK})
    assert api.desk.sessions.bytes - before == weight
    api.post(f"{session}/reset")
    assert api.desk.sessions.bytes == before


def test_one_session_cannot_take_the_room_of_all(make_api) -> None:
    api = make_api(session_cache_bytes=4 * 16_000)
    image = api.upload()
    others = [api.begin(image) for _ in range(3)]
    greedy = f"/v1/sessions/{api.begin(image)}"
    statuses = [api.post(f"{greedy}/marks", {"mask": MASK}).status_code for _ in range(9)]
    assert statuses[0] == 200
    assert "a session may take" in refusal(api.post(f"{greedy}/marks", {"mask": MASK}), 409)
    assert api.post(f"{greedy}/undo").status_code == 200
    assert api.post(f"{greedy}/marks", {"mask": MASK}).status_code == 200
    for other in others:
        click(api, f"/v1/sessions/{other}", [30, 30])


@pytest.mark.parametrize("step", ["marks", "undo", "redo", "reset"])
def test_who_asks_again_after_a_lost_answer_changes_nothing(api: Api, session, step) -> None:
    for place, label in CLICKS[:2]:
        click(api, session, place, label)
    api.post(f"{session}/undo")
    body = {"points": [[30, 30]]} if step == "marks" else None
    known = api.get(session).json()["rounds"]
    done = api.post(f"{session}/{step}?rounds={known}", body)
    assert done.status_code == 200
    assert done.json()["rounds"] != known
    again = api.post(f"{session}/{step}?rounds={known}", body)
    assert "look at it (GET)" in refusal(again, 409)
    assert api.get(session).json() == done.json()


def test_sessions_of_a_model_with_a_refiner(make_api) -> None:
    """Its masks are finer than what undo restores others' from; its pictures weigh more."""
    api = make_api(refined_predictor())
    image = api.send(file_of(picture(0, 600, 800))).json()
    session = f"/v1/sessions/{api.begin(image['image_id'])}"
    said = [click(api, session, *clicked) for clicked in CLICKS]
    assert api.post(f"{session}/undo").json() == said[1]
    assert api.post(f"{session}/redo").json() == said[2]
    twin = refined_predictor()
    twin.set_image(picture(0, 600, 800))
    expected = Session(twin)
    for (x, y), label in CLICKS:
        answer = expected.click(x, y, label)
    assert same(said[-1]["mask"], answer.masks[0], answer.scores[0])
    assert image["bytes"] > 600 * 800 * 3
    api.post(f"/v1/images/{image['image_id']}/segment", {"box": [9, 9, 300, 300]})
    now = api.get(f"/v1/images/{image['image_id']}").json()
    assert now["bytes"] > image["bytes"]
