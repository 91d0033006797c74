"""The allocator's setting: what it returns, and that large buffers are kept after it."""

import ctypes
import subprocess
import sys

import pytest

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


def has_glibc():
    return sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.mark.skipif(not has_glibc(), reason="needs glibc")
@pytest.mark.parametrize(("how", "kept"), [("default", "False"), ("tuned", "True")])
def test_freed_buffers_are_kept(how, kept, program_environment):
    command = [sys.executable, "-c", KEEPS, how]
    done = subprocess.run(command, env=program_environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == kept


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert tune_allocator() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # a C library without mallopt
    assert tune_allocator() is False
