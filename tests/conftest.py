"""What many tests share: the environment of a program that is started, example pictures, and small models."""

import os
import sys
from pathlib import Path

import pytest

# Beside other test processes, one thread each: threads of several that wait for each other cost more than they win.
# This file is read before torch and NumPy are.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def examples() -> Path:
    return REPOSITORY / "examples"


@pytest.fixture(scope="session")
def program_environment() -> dict[str, str]:
    """The environment for a subprocess that runs this source tree, without a network."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def matting_model(tmp_path_factory) -> str:
    """The folder of a ViTMatte of a few thousand random weights."""
    from models.vitmatte.tiny import tiny_model

    path = tmp_path_factory.mktemp("vitmatte")
    tiny_model().save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def depth_model(tmp_path_factory) -> str:
    """The folder of a DPT of a few thousand random weights."""
    from models.dpt.tiny import tiny_model
    from perpixel.models.dpt.processor import DPTImageProcessor

    path = tmp_path_factory.mktemp("dpt")
    tiny_model().save_pretrained(path)
    DPTImageProcessor(size=32, keep_aspect_ratio=True, ensure_multiple_of=32).save_pretrained(path)
    return str(path)


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers, whatever ran before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
