"""Imports run one way: layers ← backbones ← models ← export ← tasks ← {cli, train, …}; the rest knows no model."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "perpixel"

# What each part may import from its sister parts, at module level or inside a function. A new folder gets a
# row here, and with it a place in the order.
BASE = {"errors", "folders"}
ARRAYS = BASE | {"images", "ops", "metrics"}
MODELS = BASE | {"layers", "hub", "images", "ops", "backbones"}
EXPORT = MODELS | {"models"}
TASKS = EXPORT | {"metrics", "results", "allocator", "export", "perpixel"}
OUTERMOST = TASKS | {"tasks", "data", "perpixel"}
ALLOWED = {
    "errors": set(),
    "folders": set(),
    "allocator": BASE,
    "images": BASE | {"ops"},
    "ops": BASE | {"images"},
    "metrics": BASE | {"ops"},
    "results": ARRAYS,
    "client": BASE | {"images", "results", "perpixel"},
    "hub": BASE,
    "layers": BASE | {"ops"},
    "data": ARRAYS,
    "backbones": BASE | {"layers", "hub", "models.base", "models.config", "models.fields", "models.outputs"},
    "models": MODELS,
    "export": EXPORT,
    "tasks": TASKS,
    "cli": OUTERMOST | {"train", "evaluate", "batch", "serve", "studio"},
    "train": OUTERMOST,
    "evaluate": OUTERMOST,
    "batch": OUTERMOST,
    "serve": OUTERMOST | {"batch", "studio"},
    "studio": OUTERMOST | {"batch"},
}
FREE = {"__init__", "__main__"}  # the public names and the program: they stand above everything

FILES = sorted(path for path in PACKAGE.rglob("*.py") if "weights" not in path.parts)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a perpixel module in a file, at any depth: its line and the name after `perpixel.`."""

    def visit(node: ast.AST) -> Iterator[tuple[int, str]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from visit(child)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "perpixel":
                    yield node.lineno, alias.name.removeprefix("perpixel.")
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(PACKAGE.parent).parent.parts
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "perpixel":
                for alias in node.names:
                    yield node.lineno, alias.name if (PACKAGE / alias.name).exists() else "perpixel"
            elif module.startswith("perpixel."):
                yield node.lineno, module.removeprefix("perpixel.")
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(path.read_text("utf-8")))


def part(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def breaches(path: Path) -> list[str]:
    own = part(path)
    if own in FREE:
        return []
    allowed = ALLOWED[own] | {own}
    return [
        f"{path.relative_to(PACKAGE)}:{line} imports perpixel.{name}"
        for line, name in imported(path)
        if not any(name == other or name.startswith(f"{other}.") for other in allowed)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    assert part(path) in FREE or part(path) in ALLOWED, "a new folder needs its row in ALLOWED"
    assert breaches(path) == []


def test_the_table_itself_points_one_way():
    order = ["layers", "backbones", "models", "export", "tasks", "cli"]
    for position, below in enumerate(order):
        assert not set(order[position + 1 :]) & ALLOWED[below]
    for knows_no_model in ("ops", "images", "metrics", "hub"):
        assert not {"models", "backbones", "tasks"} & ALLOWED[knows_no_model]


def test_an_import_inside_a_function_counts(tmp_path, monkeypatch):
    package = tmp_path / "perpixel"
    (package / "ops").mkdir(parents=True)
    wrong = package / "ops" / "wrong.py"
    wrong.write_text("def f():\n    from perpixel.models import base\n    from ..tasks import cutout\n")
    monkeypatch.setattr(f"{__name__}.PACKAGE", package)
    assert breaches(wrong) == [
        "ops/wrong.py:2 imports perpixel.models",
        "ops/wrong.py:3 imports perpixel.tasks",
    ]
