"""Servers in tests are warmed up with a small picture: this costs most of their start."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def small_warm_up():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perpixel.serve.service.WARM_UP", 64)
        yield
