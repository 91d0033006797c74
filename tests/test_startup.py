"""Importing perpixel, and asking it for help, is instant: nothing heavy is loaded before it is needed."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import perpixel

HEAVY = {
    "torch",
    "cv2",
    "transformers",
    "scipy",
    "skimage",
    "numpy",
    "PIL",
    "huggingface_hub",
    "accelerate",
    "timm",
    "numba",
    "gradio",
    "fastapi",
    "pydantic",
    "httpx",
    "ray",
    "pyarrow",
    "av",
}
SHOW_MODULES = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def loaded(code: str, environment: dict[str, str]) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{SHOW_MODULES}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.splitlines()[-1].split())


def fastest(command: list[str], environment: dict[str, str]) -> float:
    """Processor seconds of the best of three runs: on an idle machine the wait, on a busy one still the same."""
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, env=environment, capture_output=True, check=True)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        seconds.append(spent)
    return min(seconds)


def test_import_loads_nothing_heavy(program_environment):
    assert not loaded("import perpixel", program_environment) & HEAVY


def test_help_loads_nothing_heavy(program_environment):
    code = "import perpixel.cli\nassert perpixel.cli.main(['--help']) == 0"
    modules = loaded(code, program_environment)
    assert "typer" in modules
    assert not modules & HEAVY


def test_import_is_fast(program_environment):
    empty = fastest([sys.executable, "-c", "pass"], program_environment)
    perpixel_too = fastest([sys.executable, "-c", "import perpixel"], program_environment)
    assert perpixel_too - empty < 3 * 0.15


def test_help_is_fast(program_environment):
    assert fastest([sys.executable, "-m", "perpixel", "--help"], program_environment) < 3 * 0.5


@pytest.mark.parametrize("name", perpixel.__all__)
def test_public_name_resolves(name):
    value = getattr(perpixel, name)
    assert value is not None
    assert name in dir(perpixel)
    if name != "__version__":
        assert value.__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="cutuot"):
        perpixel.cutuot  # noqa: B018


def test_type_checkers_see_the_same_names_and_homes():
    tree = ast.parse(Path(perpixel.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == perpixel._HOMES
