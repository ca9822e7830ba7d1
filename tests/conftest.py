"""Properties are tested without a clock: a busy machine must not fail them.

Workers of pytest-xdist run beside each other, so each, and each process it starts, keeps to one
thread.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before anything imports torch
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(autouse=True, scope="session")
def cache_of_tests(tmp_path_factory):
    """A place for what is kept between runs, which is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAVALLAMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def hub_server():
    """A hub on 127.0.0.1 (`tests.loopback_hub`), for all tests of a process."""
    from tests.loopback_hub import LoopbackHub

    server = LoopbackHub()
    yield server
    server.close()


@pytest.fixture
def loopback_hub(hub_server, tmp_path, monkeypatch):
    """An empty hub, with an empty cache of downloads, that huggingface_hub asks in this process."""
    from huggingface_hub import constants, file_download

    hub_server.clear()
    template = f"{hub_server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.url)
    for place in (constants, file_download):  # older versions have it in both
        monkeypatch.setattr(place, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hub-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):  # of child processes
        monkeypatch.delenv(variable, raising=False)
    return hub_server
