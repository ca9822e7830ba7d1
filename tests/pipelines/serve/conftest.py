"""Apps that are shut down after the test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pipelines.serve.asking import Api


@pytest.fixture
def make_api() -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def make(*arguments: Any, **limits: Any) -> Api:
        made.append(Api(*arguments, **limits))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.close()
