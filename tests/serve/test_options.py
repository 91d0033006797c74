"""The options of requests have the names and the defaults of the Python functions."""

import inspect

import pytest

import perpixel
from perpixel.serve.work import FIELDS, OPTIONS

# What a server's owner decides, and not its clients.
OWNERS = {"device", "dtype", "engine", "quantize"}


@pytest.mark.parametrize("route", OPTIONS)
def test_names_and_defaults_are_those_of_the_function(route):
    function = inspect.signature(getattr(perpixel, route)).parameters
    known = set(OPTIONS[route].model_fields) | set(FIELDS[route]) - {"options"}
    assert known == set(function) - OWNERS
    for name, field in OPTIONS[route].model_fields.items():
        assert field.default == function[name].default, name


@pytest.mark.parametrize("route", OPTIONS)
def test_the_clients_methods_have_them_too(route):
    method = inspect.signature(getattr(perpixel.Client, route)).parameters
    function = inspect.signature(getattr(perpixel, route)).parameters
    assert set(method) - {"self"} == set(function) - OWNERS
    for name in set(method) - {"self"}:
        assert method[name].default == function[name].default, name
