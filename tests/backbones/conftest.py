"""A stand-in for torchvision, so that timm can be imported where no torchvision fits the installed torch."""

import enum
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

import pytest


class InterpolationMode(enum.Enum):
    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class _Module(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return InterpolationMode if name == "InterpolationMode" else type(name, (), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


@pytest.fixture(scope="session")
def timm():
    """timm itself. It uses torchvision for its data and one class to compare with, never for what is tested here."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    stand_in = importlib.util.find_spec("torchvision") is None
    finder = _Finder()
    if stand_in:
        sys.meta_path.insert(0, finder)
    try:
        import timm

        yield timm
    finally:
        if stand_in:
            sys.meta_path.remove(finder)
            for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "timm")]:
                del sys.modules[name]
