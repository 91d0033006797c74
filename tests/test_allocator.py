"""The allocator's setting: what it returns, and that large buffers are kept after it."""

import ctypes
import subprocess
import sys

import pytest
import torch

from perpixel.allocator import tune_allocator

# A large buffer that is freed goes back to the system by default, and stays with the process after the call.
KEEPS = """
import ctypes, sys
from perpixel.allocator import tune_allocator
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])
if sys.argv[1] == "tuned":
    assert tune_allocator()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
size = 64 << 20
before = resident()
block = libc.malloc(ctypes.c_size_t(size))
ctypes.memset(block, 1, size)
libc.free(ctypes.c_void_p(block))
print((resident() - before) * 4096 > size // 2)
"""


# Threads that allocate at the same time have heaps of their own by default; after the call they share the process's.
SHARES = """
import ctypes, sys, threading
from pathlib import Path
from perpixel.allocator import tune_allocator
if sys.argv[1] == "tuned":
    assert tune_allocator()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together, blocks = threading.Barrier(8), []
def work():
    together.wait()
    blocks.append(libc.malloc(ctypes.c_size_t(100_000)))
    together.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
heap = next(line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("[heap]"))
first, last = (int(number, 16) for number in heap.split()[0].split("-"))
print(all(first <= block < last for block in blocks))
"""
# oneDNN tells which kernels it prepares; when the same sizes come again, it has those that it kept.
FORGETS = """
import sys
from perpixel.allocator import tune_allocator
tune_allocator(many_sizes=sys.argv[1] == "tuned")
import torch
layer = torch.nn.Conv2d(3, 8, 3)
with torch.inference_mode():
    for turn in ("first", "again"):
        print(turn, flush=True)
        for side in range(32, 32 + 120):
            layer(torch.zeros(1, 3, side, side))
"""


def has_glibc():
    return sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.mark.skipif(not has_glibc(), reason="needs glibc")
@pytest.mark.parametrize(("how", "told"), [("default", "False"), ("tuned", "True")])
@pytest.mark.parametrize("program", [KEEPS, SHARES], ids=["freed buffers are kept", "threads share one heap"])
def test_what_the_setting_changes(program, how, told, program_environment):
    command = [sys.executable, "-c", program, how]
    done = subprocess.run(command, env=program_environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == told


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")
@pytest.mark.parametrize(("how", "again"), [("default", False), ("tuned", True)])
def test_kernels_of_many_sizes_are_not_kept(how, again, program_environment):
    environment = program_environment | {"ONEDNN_VERBOSE": "all"}
    environment.pop("ONEDNN_PRIMITIVE_CACHE_CAPACITY", None)  # which a command in another test has set
    done = subprocess.run(
        [sys.executable, "-c", FORGETS, how], env=environment, capture_output=True, text=True, check=True
    )
    first, _, later = done.stdout.partition("again")
    assert first.count("create:cache_miss") > 100
    assert (later.count("create:cache_miss") > 100) == again


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert tune_allocator() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # a C library without mallopt
    assert tune_allocator() is False
