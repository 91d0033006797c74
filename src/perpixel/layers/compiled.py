"""Loops as machine code, made once per machine with numba and loaded by llvmlite alone ever after.

numba keeps machine code too, but whoever asks it for that waits until numba has registered all it knows: 0.6 s of the
processor and 120 MB in every process, of which the loops need nothing. So the loops are written such that their code
stands alone: they take addresses and integers, allocate nothing and raise nothing. Such code goes as an object file
into the user's cache folder, and a later process hands it to llvmlite, on which numba itself stands, in some 0.05 s.

A file is found by what it was made of: the loops' source, the versions, the processor. It is run as it is, so it is
read only where none but the user can have written it. Processes that start at once each write a whole file; the last
one stays. Where anything of this is not to be had numba runs the loops, with its own cache.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import importlib.util
import json
import os
import re
import stat
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from ctypes import CFUNCTYPE, c_int64, c_void_p
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perpixel.errors import PerpixelWarning
from perpixel.folders import cache_folder

# Changed whenever other machine code would be made of the same source.
LAYOUT = 1
# What an argument of a loop can be: the address of numbers of one kind, or (i) an integer itself.
POINTERS = {"f": "float32", "d": "float64", "l": "int64", "n": "int32", "b": "uint8"}
INTEGER = "i"

# numba compiles one function at a time anyway, and who waits finds the file of who came first.
_lock = threading.Lock()


class Loop:
    """A compiled loop. It runs without Python's lock.

    Args:
        address: of the machine code.
        kinds: of its arguments, one letter each.
        owner: what holds the machine code in memory.
    """

    def __init__(self, address: int, kinds: str, owner: object) -> None:
        self._run = CFUNCTYPE(None, *(c_int64 if kind == INTEGER else c_void_p for kind in kinds))(address)
        self._owner = owner

    def __call__(self, *arguments: int) -> None:
        """Run.

        Args:
            arguments: addresses and integers. Nothing checks that the memory there is large enough.
        """
        self._run(*arguments)


def address(x: Tensor, dtype: torch.dtype = torch.float32) -> int:
    """Where the numbers of a tensor lie. They have to be of `dtype`, contiguous and in the processor's memory."""
    assert x.dtype == dtype and x.is_cpu and x.is_contiguous()
    return x.data_ptr()


def load_loops(module: str, signatures: Mapping[str, str]) -> dict[str, Loop] | None:
    """Have the loops of a module ready.

    Args:
        module: full name of a module that holds the loops as functions of their names, and `FASTMATH`, the liberties
            that numba may take with their sums. It imports numba, so it is imported only where they are compiled.
        signatures: the name of each loop and the kinds of its arguments, a letter of `POINTERS` or `INTEGER` each.
            Other loops of the module are not compiled: each takes a second.

    Returns:
        the loops by name; None where numba is missing or switched off (`NUMBA_DISABLE_JIT=1`) or, with a warning,
        where it cannot compile them.
    """
    if importlib.util.find_spec("numba") is None or os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return None
    with _lock:
        try:
            path = _place(module, signatures)
            code = None if path is None else _read(path)
            loops = _link(code, signatures) if code else None
            # An empty file says that the code does not stand alone.
            if loops is None:
                with _no_collection():
                    loops = _make(module, signatures, None if code == b"" else path)
            return loops
        except Exception as error:  # a compiler can fail in any way; there is another path
            warnings.warn(
                f"numba cannot compile {module}, so perpixel runs slower ({error!r}): install the newest numba",
                PerpixelWarning,
                stacklevel=2,
            )
            return None


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Leave garbage where it is: the compiler makes hundreds of thousands of objects, and looking through them and
    torch's own again and again takes an eighth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _place(module: str, signatures: Mapping[str, str]) -> Path | None:
    """The file of a module's machine code; None where there is no folder that only the user can write."""
    import llvmlite
    from llvmlite import binding

    try:
        source = _source(module)
        features = binding.get_host_cpu_features().flatten()
        # Constants of the modules that it imports become part of the machine code.
        beside = [
            _source(name.decode()) for name in re.findall(rb"^from (perpixel[\w.]*) import", source, re.MULTILINE)
        ]
        made_of = {
            "layout": LAYOUT,
            "sources": [hashlib.sha256(text).hexdigest() for text in (source, *beside)],
            "signatures": dict(signatures),
            "numba": version("numba"),
            "llvmlite": llvmlite.__version__,
            "processor": [binding.get_process_triple(), binding.get_host_cpu_name(), features],
            "settings": [
                os.environ.get(f"NUMBA_{name}") for name in ("OPT", "CPU_NAME", "CPU_FEATURES", "BOUNDSCHECK")
            ],
        }
        folder = cache_folder() / "loops"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _only_mine(folder.stat()):
            return None
    except (OSError, RuntimeError, PackageNotFoundError):  # no folder, no home, no version to tell
        return None
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]
    return folder / f"{module.rpartition('.')[2]}-{key}.o"


def _source(module: str) -> bytes:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise OSError(f"the source of {module} is not there")
    return Path(spec.origin).read_bytes()


def _only_mine(status: os.stat_result) -> bool:
    """Whether only this user can write a file or folder; Windows keeps the folders of its users apart by itself."""
    if os.name != "posix":
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(path: Path) -> bytes | None:
    """The machine code of a file; None where there is none that can be trusted."""
    try:
        with path.open("rb") as file:
            content = file.read() if _only_mine(os.fstat(file.fileno())) else b""
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    # LLVM would take the process down over a damaged file.
    return code if hashlib.sha256(code).digest() == digest else None


def _write(path: Path, code: bytes) -> None:
    # The next process tries again where the disk is full.
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent) as room:  # for the user alone
        temporary = Path(room) / path.name
        temporary.touch(mode=0o600)
        temporary.write_bytes(hashlib.sha256(code).digest() + code)
        temporary.replace(path)


def _machine() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target, features = (
        binding.Target.from_triple(binding.get_process_triple()),
        binding.get_host_cpu_features().flatten(),
    )
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True)


def _link(code: bytes, signatures: Mapping[str, str]) -> dict[str, Loop] | None:
    """The loops of an object file; None where one is not in it."""
    from llvmlite import binding

    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    addresses = {name: engine.get_function_address(name) for name in signatures}
    if not all(addresses.values()):
        return None
    return {name: Loop(address, signatures[name], engine) for name, address in addresses.items()}


def _make(module: str, signatures: Mapping[str, str], path: Path | None) -> dict[str, Loop]:
    """Compile the loops, and keep their machine code if there is a place for it and it stands alone."""
    if path is None or not os.access(path.parent, os.W_OK):
        try:
            compiled = _compile(module, signatures, cache=True)
        except (OSError, RuntimeError):  # numba has no folder either, or cannot read what is in there
            compiled = _compile(module, signatures, cache=False)
    else:
        compiled = _compile(module, signatures, cache=False)
        code = b""
        with contextlib.suppress(Exception):  # an older llvmlite lacks a part of what is needed
            code = _object_file(compiled)
        loops = _link(code, signatures) if code else None
        _write(path, code if loops else b"")
        if loops:
            return loops
    return {name: Loop(made.address, signatures[name], made) for name, made in compiled.items()}


def _compile(module: str, signatures: Mapping[str, str], *, cache: bool) -> dict[str, Any]:
    """Each loop as numba's C function."""
    import numba
    from numba.core.compiler import Compiler

    class Apart(Compiler):  # type: ignore[misc]
        """Promises LLVM that no two of the pointers lead to the same memory, or it would not use vectors."""

        def define_pipelines(self) -> Any:
            self.state.flags.noalias = True
            return super().define_pipelines()

    source, types = importlib.import_module(module), numba.types
    known = {kind: types.CPointer(getattr(types, name)) for kind, name in POINTERS.items()} | {INTEGER: types.int64}
    options = {"error_model": "numpy", "fastmath": source.FASTMATH, "pipeline_class": Apart, "cache": cache}
    return {
        name: numba.cfunc(types.void(*(known[kind] for kind in kinds)), **options)(getattr(source, name))
        for name, kinds in signatures.items()
    }


def _object_file(compiled: Mapping[str, Any]) -> bytes:
    """The loops' machine code as an object file; empty where it needs something of numba."""
    from llvmlite import binding

    machine, whole = _machine(), binding.parse_assembly("")
    for name, made in compiled.items():
        part = binding.parse_assembly(made.inspect_llvm())
        for value in (*part.functions, *part.global_variables):
            if not value.is_declaration and value.name != made.native_name:
                value.linkage = "internal"
        part.get_function(made.native_name).name = name
        whole.link_in(part)
    # A loop never fails, so what numba put around it for that case is never reached, and goes.
    passes = binding.create_new_module_pass_manager()
    passes.add_ipsccp_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_dead_prototype_pass()
    passes.run(whole, binding.create_pass_builder(machine, binding.create_pipeline_tuning_options()))
    needed = [value.name for value in (*whole.functions, *whole.global_variables) if value.is_declaration]
    alone = all(name.startswith("llvm.") for name in needed)
    return machine.emit_object(whole) if alone else b""
