"""What the package imports is what its metadata asks for, and every version is pinned for the tests."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
MODULES = {"pillow": "PIL", "opencv-python-headless": "cv2", "pyyaml": "yaml", "openexr": "OpenEXR", "grpcio": "grpc"}
EVERYWHERE = {"tensorflow", "jax"}  # arrays of these are made where somebody has them already
# Folders and files that are of no use without an extra; whatever imports them says how to get it.
NEEDS_EXTRA = {
    "train": "train",
    "data": "train",
    "metrics/average_precision.py": "eval",
    "serve": "serve",
    "studio": "studio",
}
FILES = sorted((REPOSITORY / "src" / "perpixel").rglob("*.py"))


def modules(requirements):
    names = [re.match(r"[\w-]+", requirement)[0].lower() for requirement in requirements]
    return {MODULES.get(name, name.replace("-", "_")) for name in names} - {"perpixel"}


CORE = modules(PROJECT["dependencies"])
EXTRAS = PROJECT["optional-dependencies"]


def third_party(body, inside_functions):
    """The modules of other packages that some statements import."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
            continue
        if isinstance(node, ast.Import):
            found = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = {node.module.partition(".")[0]}
        else:
            found = set()
        yield from found - sys.stdlib_module_names - {"perpixel"}
        yield from third_party(ast.iter_child_nodes(node), inside_functions)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY / "src")))
def test_imports_are_declared(path):
    tree = ast.parse(path.read_text("utf-8"))
    place = path.relative_to(REPOSITORY / "src" / "perpixel")
    extra = NEEDS_EXTRA.get(place.as_posix()) or NEEDS_EXTRA.get(place.parts[0])
    at_import = CORE | (modules(EXTRAS[extra]) if extra else set())
    assert set(third_party(tree.body, inside_functions=False)) <= at_import
    shipped = {name for extra in EXTRAS if extra not in ("test", "dev") for name in modules(EXTRAS[extra])}
    assert set(third_party(tree.body, inside_functions=True)) <= CORE | shipped | EVERYWHERE


def test_every_requirement_is_pinned():
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    asked = {"setuptools", *PROJECT["dependencies"]}
    asked.update(requirement for extra, listed in EXTRAS.items() if extra != "timm" for requirement in listed)
    names = {re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-") for requirement in asked}
    assert names - {"perpixel"} <= pinned


def test_nothing_pulls_torchvision_in():
    assert "torchvision" not in (REPOSITORY / "constraints.txt").read_text("utf-8").replace("requires torchvision", "")
    assert not {"torchvision", "torchaudio"} & CORE
