"""Shelves are bounded in number, bytes and time."""

import pytest

from pipelines.serve.refusal import Refusal
from pipelines.serve.shelf import Shelf
from tests.pipelines.serve.asking import file_of, refusal
from tests.seem.predicting import picture


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def shelf(**limits) -> tuple[Shelf[bytes], Clock, list[str]]:
    clock, removed = Clock(), []
    options = {"count": 3, "size": 100, "idle_s": 10.0, "fresh_s": 0.0} | limits
    made = Shelf("thing", weigh=len, removed=removed.append, clock=clock, **options)
    return made, clock, removed


def test_the_least_recently_used_makes_room() -> None:
    things, _, removed = shelf()
    names = [things.put(bytes(i)) for i in range(3)]
    assert things.get(names[0]) == b""
    things.put(b"new")
    assert removed == [names[1]]
    assert len(things) == 3


def test_bytes_are_bounded() -> None:
    things, _, removed = shelf()
    names = [things.put(bytes(40)) for _ in range(3)]
    assert removed == names[:1]
    assert things.bytes == 80
    with pytest.raises(Refusal, match="larger cache"):
        things.put(bytes(101))
    assert len(things) == 2


def test_what_is_idle_is_forgotten() -> None:
    things, clock, removed = shelf()
    old, used = things.put(b"old"), things.put(b"used")
    clock.now = 9.0
    things.get(used)
    clock.now = 10.0
    things.tidy()
    assert removed == [old]
    with pytest.raises(Refusal, match="unused for 10 s"):
        things.get(old)


def test_ids_are_long_and_differ() -> None:
    things, _, _ = shelf(count=1000)
    names = {things.put(b"") for _ in range(1000)}
    assert len(names) == 1000
    assert min(map(len, names)) >= len("thing_") + 22


def test_pictures_make_room_and_take_their_sessions_along(make_api) -> None:
    api = make_api(images=2)
    first, second = api.upload(0), api.upload(1)
    session = api.begin(first)
    api.get(f"/v1/images/{second}")
    api.upload(2)
    refusal(api.get(f"/v1/images/{first}"), 404)
    refusal(api.get(f"/v1/sessions/{session}"), 404)
    assert len(api.desk.sessions) == 0
    assert "lavallama_images_dropped_total 1" in api.get("/metrics").text


def test_a_used_session_keeps_its_picture(make_api) -> None:
    api = make_api(images=2)
    first = api.upload(0)
    session, other = api.begin(first), api.upload(1)
    api.get(f"/v1/images/{other}")
    api.get(f"/v1/sessions/{session}")
    api.upload(2)
    assert api.get(f"/v1/images/{first}").status_code == 200


def test_a_picture_that_fits_nowhere_is_refused(make_api) -> None:
    api = make_api(image_cache_bytes=1000)
    assert "larger cache" in refusal(api.send(file_of(picture())), 413)
    assert len(api.desk.images) == 0


def test_what_has_just_come_makes_no_room() -> None:
    things, clock, removed = shelf(count=2, fresh_s=5.0)
    names = [things.put(b""), things.put(b"")]
    with pytest.raises(Refusal, match="come back") as refused:
        things.put(b"")
    assert refused.value.status == 503
    things.get(names[0])
    with pytest.raises(Refusal):
        things.put(b"")
    clock.now = 5.0
    things.put(b"")
    assert removed == [names[1]]
    things.put(b"")
    assert removed == [names[1], names[0]]


def test_a_crowd_of_uploads_does_not_push_out_what_each_will_use(make_api) -> None:
    api = make_api(images=2)
    mine = [api.upload(0), api.upload(1)]
    assert "come back" in refusal(api.send(file_of(picture(2))), 503)
    for image in mine:
        assert api.get(f"/v1/images/{image}").status_code == 200
    api.upload(2)
