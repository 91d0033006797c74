"""detectron2's pickles: arrays come out whole, everything else is refused in one line and never runs."""

import collections
import io
import os
import pickle
import pickletools
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import CheckpointError
from perpixel.hub.detectron2 import read_arrays
from perpixel.hub.load import load_state_dict

RNG = np.random.default_rng(0)
ARRAYS = {
    "float": RNG.random((2, 3), np.float32),
    "half": RNG.random(5).astype(np.float16),
    "fortran": np.asfortranarray(RNG.random((3, 4))),
    "long": np.array([1, -2, 2**40]),
    "bool": np.array([True, False]),
    "byte": np.arange(256, dtype=np.uint8).reshape(4, 8, 8),
    "scalar": np.float32(2.5),
    "zero-dimensional": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "big-endian": np.arange(4, dtype=">f4"),
    "strided": RNG.random((4, 6))[::2, ::3],
}


def write(path, value, protocol=2):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def message_of(path, data=None):
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        read_arrays(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300 + len(str(path))
    return message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model_final.pkl"


def check(found, wanted):
    assert list(found) == list(wanted)
    for key, array in wanted.items():
        np.testing.assert_array_equal(found[key], array, strict=False)
        assert found[key].dtype == np.asarray(array).dtype.newbyteorder("="), key
        assert found[key].shape == np.shape(array), key


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("outer", [dict, collections.OrderedDict])
def test_every_kind_of_array(path, protocol, outer):
    write(path, {"model": outer(ARRAYS), "__author__": "someone", "matching_heuristics": True}, protocol)
    check(read_arrays(path), ARRAYS)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    kind=st.sampled_from(["<f4", ">f8", "<i8", ">i2", "|u1", "|b1", "<f2"]),
    protocol=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_any_shape(tmp_path_factory, shape, kind, protocol, seed):
    array = np.random.default_rng(seed).integers(0, 2, shape).astype(kind)
    path = write(tmp_path_factory.mktemp("any") / "x.pkl", {"model": {"a": array, "b": array}}, protocol)
    check(read_arrays(path), {"a": array, "b": array})


def test_both_numpy_generations(path):
    data = pickle.dumps({"model": {"a": ARRAYS["float"]}}, protocol=2)
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    assert (old in data) != (new in data)
    for theirs in (old, new):
        path.write_bytes(data.replace(new if new in data else old, theirs))
        check(read_arrays(path), {"a": ARRAYS["float"]})


def test_what_python_2_wrote(path):
    """An array as Python 2 pickled it: its bytes and all texts are byte strings of Latin letters."""
    values = np.array([1.5, -200.25, 3e7], "<f4")

    def text(word):
        return b"U" + bytes([len(word)]) + word

    path.write_bytes(
        b"\x80\x02}" + text(b"model") + b"}" + text(b"w")
        + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        + b"(K\x01K\x03\x85cnumpy\ndtype\n" + text(b"f4") + b"K\x00K\x01\x87R"
        + b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89" + text(values.tobytes()) + b"tbss."
    )  # fmt: skip
    check(read_arrays(path), {"w": values})
    # The same bytes mean the same to Python's own unpickler.
    loaded = pickle.loads(path.read_bytes(), encoding="latin1")
    np.testing.assert_array_equal(loaded["model"]["w"], values)


def test_a_state_dict_becomes_tensors(path):
    write(path, {"model": {k: v for k, v in ARRAYS.items() if k != "big-endian"}})
    state = load_state_dict(path)
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    np.testing.assert_array_equal(state["fortran"].numpy(), ARRAYS["fortran"])
    state["float"][0, 0] = 9  # the file's own bytes could not be written to
    torch.save(state, path)  # a PyTorch file under this name is read as one
    assert torch.equal(load_state_dict(path)["float"], state["float"])


class Reduces:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def touch(name):
    Path(name).touch()


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "make",
    [
        lambda mark: Reduces(os.system, (f"touch {mark}",)),
        lambda mark: Reduces(eval, (f"open({mark!r}, 'w')",)),
        lambda mark: Reduces(exec, (f"open({mark!r}, 'w')",)),
        lambda mark: Reduces(touch, (mark,)),
        lambda mark: Reduces(__import__, ("os",)),
        lambda mark: Reduces(np.fromfile, (mark,)),
        lambda mark: Reduces(np.load, (mark,)),
    ],
    ids=["os.system", "eval", "exec", "own-function", "import", "np.fromfile", "np.load"],
)
def test_code_never_runs(path, tmp_path, make, protocol):
    mark = tmp_path / "ran"
    write(path, {"model": {"a": np.ones(2), "b": make(str(mark))}}, protocol)
    assert "could run code: ask for a safetensors file" in message_of(path)
    assert not mark.exists()


def test_a_known_name_can_be_used_for_its_own_thing_only(path):
    """Nothing is looked up, so a name cannot be given other arguments to do harm with."""
    encode = b"c_codecs\nencode\n"
    assert "encodes what is no bytes" in message_of(path, b"\x80\x02" + encode + b"X\x01\x00\x00\x00aU\x03zip\x86R.")
    assert "subclass" in message_of(
        path, b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85\x86R."
    )
    assert "no function" in message_of(path, b"\x80\x02}K\x00\x85R.")
    assert "calls numpy.ndarray" in message_of(path, b"\x80\x02cnumpy\nndarray\nK\x05\x85R.")
    assert "gives a state" in message_of(path, b"\x80\x02c_codecs\nencode\n}b.")


@pytest.mark.parametrize(
    "value",
    [
        np.array(["a", None], dtype=object),
        np.array(["text"]),
        np.array([b"text"]),
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, complex),
    ],
    ids=["object", "text", "bytes", "record", "date", "complex"],
)
def test_arrays_of_other_things_are_refused(path, value):
    write(path, {"model": {"a": value}})
    assert "not of numbers" in message_of(path)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_other_objects_are_refused(path):
    for value, name in (
        (torch.ones(2), "torch._utils._rebuild_tensor_v2"),
        (np.ma.ones(2), "numpy.ma"),
        (range(3), "range"),
        ({1, 2}, "set"),
        (1j, "complex"),
        (np.matrix([[1]]), "numpy.matrix"),
    ):
        write(path, {"model": {"a": value}})
        assert name in message_of(path), name


def test_the_instructions_that_make_objects_are_refused(path):
    for data in (b"(ios\nsystem\n.", b"(cos\nsystem\no.", b"P1\n.", b"K\x01Q.", b"\x82\x01.", b"I1\n."):
        message = message_of(path, b"\x80\x02" + data)
        assert "could run code" in message or "can make any object" in message


def array_pickle(shape, data, kind=b"f4"):
    """A pickle of one array, put together by hand."""
    sides = b"".join(b"\x8a" + bytes([len(raw)]) + raw for raw in (number_bytes(side) for side in shape))
    return (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01(" + sides + b"tcnumpy\ndtype\nU" + bytes([len(kind)]) + kind + b"K\x00K\x01\x87R"
        + b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U" + bytes([len(data)]) + data + b"tbs."
    )  # fmt: skip


def number_bytes(number):
    return number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)


def test_impossible_shapes(path):
    path.write_bytes(array_pickle([2, 1], b"\x00" * 8))
    check(read_arrays(path), {"a": np.zeros((2, 1), np.float32)})  # this is how it should be
    assert "shape 3×1 over 8 bytes" in message_of(path, array_pickle([3, 1], b"\x00" * 8))
    assert "over 8 bytes" in message_of(path, array_pickle([2**39, 2**39, 2**39], b"\x00" * 8))
    assert "impossible shape" in message_of(path, array_pickle([2**62], b"\x00" * 8))
    assert "impossible shape" in message_of(path, array_pickle([-2, -1], b"\x00" * 8))
    assert "impossible shape" in message_of(path, array_pickle([2**900], b"\x00" * 8))
    assert "broken array" in message_of(path, array_pickle([1] * 33, b"\x00" * 4))
    assert "not of numbers" in message_of(path, array_pickle([1], b"\x00" * 8, b"O8"))
    assert "not of numbers" in message_of(path, array_pickle([1], b"\x00" * 8, b"(9999,9999)f4"))


def test_bombs(path):
    deep = 200_000
    for data in (
        b"(" * deep + b"t" * deep + b".",  # tuples in tuples
        b"]" * deep + b"a" * (deep - 1) + b".",  # lists in lists
        b")" + b"\x85" * deep + b".",
        b"]" + b"q\x00h\x00h\x00h\x00\x87" * 1000 + b".",  # 3^1000 leaves
        b"K\x00r\xff\xff\xff\x7f.",  # a memo of two thousand million places
        b"B\xff\xff\xff\x7fabc.",  # two thousand million bytes that are not there
        b"\x8e" + struct.pack("<Q", 2**62) + b"abc.",
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b"abc.",
    ):
        message_of(path, b"\x80\x04" + data)
    key = b"}" + b")" + b"\x85" * deep + b"K\x00s."
    assert "dict key" in message_of(path, b"\x80\x02" + key)  # hashing it would overflow the stack
    assert "more than 2000000 pickle instructions" in message_of(path, b"\x80\x02" + b"N0" * 1_000_100 + b"N.")


@pytest.mark.parametrize("protocol", [2, 4])
def test_cut_anywhere(path, protocol):
    data = pickle.dumps({"model": {"a": np.arange(3.0), "b": np.float32(1)}, "x": [1, ("y", None)]}, protocol=protocol)
    for end in range(len(data)):
        message_of(path, data[:end])


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_changed_anywhere(path):
    """Whatever one wrong byte does, it is a CheckpointError or plain arrays."""
    data = bytearray(pickle.dumps({"model": {"a": np.arange(3.0)}}, protocol=2))
    rng = np.random.default_rng(1)
    for place in range(len(data)):
        changed = data.copy()
        changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            found = read_arrays(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
        else:
            assert all(array.dtype.kind in "fiub" for array in found.values())


def test_no_pickle_at_all(path):
    for data in (b"", b"<html>not found</html>", b"version https://git-lfs", pickle.dumps({"a": 1}, protocol=0)):
        message_of(path, data)
    assert "holds no named arrays" in message_of(path, pickle.dumps({"model": {"a": 1, 2: np.ones(1)}}, protocol=2))
    assert "holds no named arrays" in message_of(path, pickle.dumps([np.ones(1)], protocol=2))


def test_the_limit_leaves_room():
    """A zoo file holds some 900 arrays; the instructions for one are a few dozen."""
    file = io.BytesIO(pickle.dumps({"model": {str(i): np.ones(2) for i in range(100)}}, protocol=2))
    assert sum(1 for _ in pickletools.genops(file)) < 100 * 60
