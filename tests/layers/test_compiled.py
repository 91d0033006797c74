"""Machine code that is kept: found by what it was made of, trusted only where it is the user's, and made anew."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from perpixel.errors import PerpixelWarning
from perpixel.layers import compiled
from perpixel.layers.compiled import address, load_loops

pytest.importorskip("numba")

LOOPS = """
import numpy as np
from numba import carray

FASTMATH = False


def double(x_data, n):
    x = carray(x_data, (n,))
    for i in range(n):
        x[i] *= np.float32(2)


def double_with_memory(x_data, n):
    x, more = carray(x_data, (n,)), np.empty(n, np.float32)
    for i in range(n):
        more[n - 1 - i] = x[i] * np.float32(2)
    for i in range(n):
        x[i] = more[n - 1 - i]


def not_to_be_compiled(x_data, n):
    x_data.sort(n)
"""
# What a process does that segments: nearly all of its time is torch's import, before the clock is started.
FIRST_USE = """
import sys, time
import torch
from perpixel.layers import deformable_kernel, winograd
before = time.process_time()
assert deformable_kernel.kernel() is not None and winograd.has_loops()
print(time.process_time() - before, "numba" in sys.modules)
generator = torch.Generator().manual_seed(0)
x, weight = torch.randn(9, 13, 8, generator=generator), torch.randn(5, 8, 3, 3, generator=generator)
y = winograd.convolve([winograd.Part(x)], winograd.prepare(weight, None), torch.empty(9, 13, 5))
print((y - torch.conv2d(x.permute(2, 0, 1)[None], weight, padding=1)[0].permute(1, 2, 0)).abs().max().item() < 1e-4)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERPIXEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module of loops that no other test has."""
    name = f"loops_of_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(LOOPS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def runs(loops, name="double"):
    x = torch.arange(5.0)
    loops[name](address(x), 5)
    return x.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]


def files(tmp_path):
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def no_compiler(*_, **__):
    pytest.fail("it was compiled")


def test_it_is_compiled_once_and_then_read(module, tmp_path, monkeypatch):
    assert runs(load_loops(module, {"double": "fi"}))
    (path,) = files(tmp_path)
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(compiled, "_compile", no_compiler)
    assert runs(load_loops(module, {"double": "fi"}))


@pytest.mark.parametrize("damage", [b"", b"\0", b"\0" * 4096])
def test_a_damaged_file_is_made_anew(module, tmp_path, damage):
    load_loops(module, {"double": "fi"})
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + damage)
    assert runs(load_loops(module, {"double": "fi"}))
    assert files(tmp_path) == [path] and len(path.read_bytes()) == len(whole)


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps its users' folders apart by itself")
def test_what_others_can_write_is_not_run(module, tmp_path, monkeypatch):
    load_loops(module, {"double": "fi"})
    (path,) = files(tmp_path)
    path.chmod(0o620)
    assert compiled._read(path) is None
    path.chmod(0o600)
    assert compiled._read(path) is not None
    path.parent.chmod(0o777)
    assert compiled._place(module, {"double": "fi"}) is None
    path.parent.chmod(0o700)
    assert compiled._place(module, {"double": "fi"}) == path
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert compiled._read(path) is None and compiled._place(module, {"double": "fi"}) is None


@pytest.mark.parametrize("other", ["processor", "features", "numba", "source", "imported", "signature"])
def test_what_was_made_of_something_else_is_not_taken(module, tmp_path, monkeypatch, other):
    from llvmlite import binding

    signature = "fi"
    source = tmp_path / f"{module}.py"
    beside = tmp_path / "perpixel_constants.py"
    beside.touch()
    source.write_text(f"from perpixel_constants import X\n{LOOPS}", encoding="utf-8")
    before = compiled._place(module, {"double": signature})
    assert before == compiled._place(module, {"double": signature})
    if other == "processor":
        monkeypatch.setattr(binding, "get_host_cpu_name", lambda: "another")
    elif other == "features":
        monkeypatch.setattr(binding, "get_host_cpu_features", lambda: SimpleNamespace(flatten=lambda: "+another"))
    elif other == "numba":
        monkeypatch.setattr(compiled, "version", lambda _: "0.0")
    elif other == "source":
        source.write_text(source.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    elif other == "imported":
        beside.write_text("X = 2", encoding="utf-8")
    else:
        signature = "ii"
    assert compiled._place(module, {"double": signature}) != before


def test_without_a_folder_numba_keeps_it(module, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PERPIXEL_CACHE", str(tmp_path / "file" / "cache"))
    assert runs(load_loops(module, {"double": "fi"}))
    assert list(tmp_path.rglob("*.nbc"))


def test_without_any_folder_it_is_compiled_each_time(module, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PERPIXEL_CACHE", str(tmp_path / "file" / "cache"))
    compile_, asked = compiled._compile, []

    def without_folder(*arguments, cache):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function 'double': no locator available for file")
        return compile_(*arguments, cache=cache)

    monkeypatch.setattr(compiled, "_compile", without_folder)
    assert runs(load_loops(module, {"double": "fi"}))
    assert asked == [True, False]


def test_code_that_needs_numba_is_kept_by_numba(module, tmp_path):
    loops = {"double_with_memory": "fi"}
    assert runs(load_loops(module, loops), "double_with_memory")
    (path,) = files(tmp_path)
    assert compiled._read(path) == b"" and not list(tmp_path.rglob("*.nbc"))
    assert runs(load_loops(module, loops), "double_with_memory")
    assert list(tmp_path.rglob("*.nbc"))


def test_a_library_that_cannot_give_the_code_leaves_it_to_numba(module, monkeypatch):
    from llvmlite import binding

    monkeypatch.delattr(binding, "create_new_module_pass_manager")
    assert runs(load_loops(module, {"double": "fi"}))
    assert runs(load_loops(module, {"double": "fi"}))


def test_a_compiler_that_fails_is_told(module):
    with pytest.warns(PerpixelWarning, match="numba cannot compile loops_of_"):
        assert load_loops(module, {"not_to_be_compiled": "fi"}) is None


def test_numba_can_be_switched_off(module, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert load_loops(module, {"double": "fi"}) is None


def test_threads_wait_for_one_another(module, monkeypatch):
    compile_, asked, found = compiled._compile, [], []

    def counted(*arguments, cache):
        asked.append(cache)
        return compile_(*arguments, cache=cache)

    monkeypatch.setattr(compiled, "_compile", counted)
    threads = [threading.Thread(target=lambda: found.append(load_loops(module, {"double": "fi"}))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1 and len(found) == 4 and all(runs(loops) for loops in found)


@pytest.mark.slow
def test_processes_may_start_at_once(module, tmp_path, program_environment):
    environment = {**program_environment, "PERPIXEL_CACHE": str(tmp_path / "cache")}
    environment["PYTHONPATH"] += os.pathsep + str(tmp_path)
    code = (
        "import torch; from perpixel.layers.compiled import address, load_loops\n"
        f"loops, x = load_loops({module!r}, {{'double': 'fi'}}), torch.ones(3)\n"
        "loops['double'](address(x), 3); print(x.sum().item())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in started] == ["6.0"] * 3
    assert [path.suffix for path in files(tmp_path)] == [".o"]


@pytest.mark.slow
def test_a_second_process_neither_imports_numba_nor_waits(tmp_path, program_environment):
    environment = {**program_environment, "PERPIXEL_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    first, second = (
        subprocess.run([sys.executable, "-c", FIRST_USE], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert first.stdout.split()[1:] == ["True", "True"]
    assert second.stdout.split()[1:] == ["False", "True"]
    assert float(second.stdout.split()[0]) < 0.2  # of the processor, s; some 0.03 were measured
    assert sorted(Path(path).name.partition("-")[0] for path in files(tmp_path)) == [
        "deformable_loops",
        "winograd_loops",
    ]
