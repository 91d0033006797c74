"""Reading detectron2's model files: pickled dicts of NumPy arrays, such as Mask2Former's `model_final_….pkl`.

A pickle is a program. Here it runs on a machine of our own that knows the few instructions which build dicts,
lists, strings and numbers, and that treats a callable's name as nothing but a name: a few names mean "make an
array" and the like, every other one is refused. So nothing that a file names is ever imported or called, and a
file never makes an array of more bytes than it holds.

The pickle instructions are those of PEP 3154 and the standard library's `pickletools`; how arrays are pickled is
described under `numpy.ndarray.__reduce__`.
"""

from __future__ import annotations

import math
import mmap
import pickletools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import CheckpointError

# A zoo file has about 20 000 instructions, mostly arrays of a dozen each.
_MOST_INSTRUCTIONS = 2_000_000
_MOST_AXES = 32  # NumPy 1's own limit
_NUMBER_TYPE = re.compile(r"b1|i[1248]|u[1248]|f[248]")

_ARRAY = "numpy.ndarray"
_DTYPE = "numpy.dtype"
_ORDERED_DICT = "collections.OrderedDict"
_ENCODE = "_codecs.encode"
_EMPTY_BYTES = ("builtins.bytes", "__builtin__.bytes")
# NumPy 1 and NumPy 2 keep these in different modules.
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_FROM_BUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
_NAMES = frozenset((_ARRAY, _DTYPE, _ORDERED_DICT, _ENCODE, *_EMPTY_BYTES, *_RECONSTRUCT, *_SCALAR, *_FROM_BUFFER))

_MARK = object()


class _Refused(Exception):
    """What stands in the file is no model; the message says what it is."""


@dataclass
class _Name:
    """A callable's name, which is never looked up."""

    name: str


@dataclass
class _NumberType:
    """A dtype in the making: its byte order comes by a later instruction."""

    kind: str
    order: str = "<"

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.kind)


@dataclass
class _ArrayInTheMaking:
    """An array whose values come by a later instruction."""

    values: NDArray[Any] | None = None


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the named arrays of a detectron2 model file, running nothing of it.

    Args:
        path: a pickle of protocol 2 to 5: a dict of arrays, or one that holds it as "model" or "state_dict".

    Returns:
        The arrays, read-only and in this machine's byte order. Whatever else the dict holds is left out.

    Raises:
        CheckpointError: the file is cut or is no pickle, or it holds anything but plain data and arrays of numbers.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:1] != b"\x80":
                raise _Refused("is no pickle of protocol 2 or later: download it again")
            loaded = _run(data)
    except _Refused as error:
        raise CheckpointError(f"{path} {error}") from error
    except (
        OSError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        OverflowError,
        MemoryError,
        Warning,
    ) as error:
        # Everything that an instruction without its operands can cause.
        reason = (str(error).splitlines() or [""])[0][:120].rstrip(".:") or type(error).__name__
        raise CheckpointError(f"{path} is not a whole pickle ({reason}): download it again") from error
    for name in ("model", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    arrays = {}
    for key, value in loaded.items() if isinstance(loaded, dict) else ():
        if isinstance(value, _ArrayInTheMaking) and value.values is not None and isinstance(key, str):
            arrays[key] = value.values
    if not arrays:
        raise CheckpointError(f"{path} holds no named arrays: give a detectron2 model file")
    return arrays


def _run(data: mmap.mmap) -> Any:
    """Run the instructions and return what they leave. A mapped file never reads more than it has."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    instructions: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(cast(IO[bytes], data))
    for count, (code, given, _) in enumerate(instructions):
        name = code.name
        if count > _MOST_INSTRUCTIONS:
            raise _Refused(f"has more than {_MOST_INSTRUCTIONS} pickle instructions, no model has: do not trust it")
        if name == "STOP":
            return stack.pop()
        if name in ("PROTO", "FRAME"):
            continue
        if name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[given] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[given])
        elif name == "GLOBAL":
            stack.append(_named(given.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_named(f"{module}.{attribute}" if type(module) is type(attribute) is str else "?"))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_call(function, arguments))
        elif name == "BUILD":
            state = stack.pop()
            _build(stack[-1], state)
        elif name == "POP":
            stack.pop()
        elif name in _LITERALS:
            stack.append(_LITERALS[name])
        elif name in _WITH_VALUE:
            stack.append(given)
        else:
            _collect(name, stack)
    raise _Refused("ends early: download it again")


_LITERALS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK, "EMPTY_TUPLE": ()}
_WITH_VALUE = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _collect(name: str, stack: list[Any]) -> None:
    """Carry out an instruction that makes or fills a collection."""
    if name == "EMPTY_DICT":
        stack.append({})
    elif name == "EMPTY_LIST":
        stack.append([])
    elif name in _TUPLES:
        size = _TUPLES[name]
        if len(stack) < size:
            raise _Refused("has a broken tuple: download it again")
        stack[-size:] = [tuple(stack[-size:])]
    elif name == "TUPLE":
        stack.append(tuple(_to_mark(stack)))
    elif name == "LIST":
        stack.append(_to_mark(stack))
    elif name in ("APPEND", "APPENDS"):
        values = _to_mark(stack) if name == "APPENDS" else [stack.pop()]
        if type(stack[-1]) is not list:
            raise _Refused("appends to what is no list: do not trust it")
        stack[-1].extend(values)
    elif name in ("SETITEM", "SETITEMS", "DICT"):
        values = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _to_mark(stack)
        if name == "DICT":
            stack.append({})
        if type(stack[-1]) is not dict:
            raise _Refused("sets an item of what is no dict: do not trust it")
        _fill(stack[-1], zip(values[::2], values[1::2], strict=True))
    else:
        raise _Refused(f"has the pickle instruction {name}, which can make any object: ask for a safetensors file")


def _to_mark(stack: list[Any]) -> list[Any]:
    values = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _fill(target: dict[Any, Any], pairs: Any) -> None:
    for key, value in pairs:
        # Hashing a tuple that is nested a million deep would overflow the interpreter's stack.
        if type(key) not in (str, int):
            raise _Refused("has a dict key that is neither a text nor a number: do not trust it")
        target[key] = value


def _named(name: str) -> _Name:
    if name not in _NAMES:
        raise _Refused(f"holds more than arrays ({name[:80]!r}) and could run code: ask for a safetensors file")
    return _Name(name)


def _call(function: Any, arguments: Any) -> Any:
    """Do what one of the known names stands for."""
    if type(function) is not _Name or type(arguments) is not tuple:
        raise _Refused("calls what is no function: do not trust it")
    name = function.name
    if name == _DTYPE:
        return _number_type(arguments[0])
    if name in _RECONSTRUCT:
        if type(arguments[0]) is not _Name or arguments[0].name != _ARRAY:
            raise _Refused("holds a subclass of an array: ask for a safetensors file")
        return _ArrayInTheMaking()
    if name in _SCALAR:
        number, data = arguments
        return _ArrayInTheMaking(_array((), number, False, data))
    if name in _FROM_BUFFER:
        data, number, shape, order = arguments
        return _ArrayInTheMaking(_array(shape, number, order == "F", data))
    if name == _ENCODE:
        # How Python 3 writes bytes into a protocol-2 pickle; no other encoding occurs.
        text, encoding = arguments
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise _Refused("encodes what is no bytes: do not trust it")
        return text.encode("latin-1")
    if name in _EMPTY_BYTES and not arguments:  # and how it writes none
        return b""
    if name == _ORDERED_DICT:
        made: dict[Any, Any] = {}
        _fill(made, arguments[0] if arguments else ())
        return made
    raise _Refused(f"calls {name}: do not trust it")


def _build(target: Any, state: Any) -> None:
    """Give an object the state that follows it."""
    if type(target) is _ArrayInTheMaking and target.values is None:
        _, shape, number, fortran, data = state
        target.values = _array(shape, number, fortran, data)
    elif type(target) is _NumberType:
        order, fields = state[1], state[2:5]
        if type(order) is not str or order not in ("<", ">", "|", "=") or any(part is not None for part in fields):
            raise _Refused("holds an array of records: ask for a safetensors file")
        # "=" is the writer's own order, which has been little-endian on any machine that trains.
        target.order = "<" if order == "=" else order
    elif type(target) is not dict or type(state) is not dict:  # an OrderedDict's attributes, such as `_metadata`
        raise _Refused("gives a state to what has none: do not trust it")


def _number_type(kind: Any) -> _NumberType:
    if type(kind) is not str or not _NUMBER_TYPE.fullmatch(kind):
        shown = kind[:20] if isinstance(kind, str) else type(kind).__name__
        raise _Refused(f"holds an array of type {shown!r}, not of numbers: ask for a safetensors file")
    return _NumberType(kind)


def _array(shape: Any, number: Any, fortran: Any, data: Any) -> NDArray[Any]:
    """Lay an array over the bytes of the file."""
    if type(number) is not _NumberType or type(shape) is not tuple or len(shape) > _MOST_AXES:
        raise _Refused("has a broken array: do not trust it")
    if any(type(side) is not int or not 0 <= side < 2**40 for side in shape):
        raise _Refused("has an array of impossible shape: do not trust it")
    # Python 2 wrote the bytes as a text of the same numbers.
    values = data.encode("latin-1") if type(data) is str else data
    if not isinstance(values, bytes | bytearray):
        raise _Refused("has an array without bytes: do not trust it")
    dtype = number.dtype()
    if math.prod(shape) * dtype.itemsize != len(values):
        sides = "×".join(map(str, shape)) or "()"
        raise _Refused(f"has an array of shape {sides} over {len(values)} bytes: download it again")
    array = np.frombuffer(values, dtype).reshape(shape, order="F" if fortran is True or fortran == 1 else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
