"""Who sets the process's allocator: every command that computes, before torch is there; never the library."""

import ast
from pathlib import Path

import pytest

import perpixel

PACKAGE = Path(perpixel.__file__).parent


def lines_that_tune(path: Path) -> list[ast.Call]:
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func).endswith("tune_allocator")]


@pytest.mark.parametrize("command", ["cutout", "matte", "segment", "depth", "bokeh", "train", "evaluate"])
def test_a_command_that_computes_tunes_before_torch_is_imported(command: str) -> None:
    path = PACKAGE / "cli" / f"{command}.py"
    (call,) = lines_that_tune(path)
    functions = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    (function,) = [one for one in functions if one.lineno <= call.lineno <= (one.end_lineno or 0)]
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("perpixel.tasks."):
            assert node.lineno > call.lineno


def test_the_library_never_tunes_by_itself() -> None:
    found = {path for path in PACKAGE.rglob("*.py") if lines_that_tune(path)}
    # The commands, and what Ray runs in processes that are perpixel's own.
    own = {PACKAGE / "batch" / "ray_dataset.py", PACKAGE / "batch" / "ray_worker.py", PACKAGE / "serve" / "on_ray.py"}
    assert own <= found
    assert {path.parent for path in found - own} == {PACKAGE / "cli"}
