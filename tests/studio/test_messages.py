"""Every error becomes one plain line on the page."""

import logging

import gradio as gr
import pytest

from perpixel.errors import CheckpointError, InputError, OutputError
from perpixel.images.read import read_photo
from perpixel.studio.messages import plain_errors


@pytest.mark.parametrize("kind", [InputError, CheckpointError, OutputError])
def test_the_page_says_what_the_package_says(kind):
    with pytest.raises(gr.Error) as caught, plain_errors():
        raise kind("trimap has no foreground: paint a part white")
    assert caught.value.message == "Trimap has no foreground: paint a part white."
    assert not caught.value.print_exception


def test_a_file_is_called_as_its_owner_calls_it(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/tmp/a folder")
    with pytest.raises(gr.Error) as caught, plain_errors():
        raise InputError(f"/tmp/a folder/{'0af' * 21}0/cat.jpg is truncated")
    assert caught.value.message == "cat.jpg is truncated."


def test_a_phones_file_is_told_without_words_for_programs():
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    with pytest.raises(gr.Error) as caught, plain_errors():
        read_photo(heic)
    assert caught.value.message.endswith("is HEIC, which Pillow reads only with a plugin: save it as JPEG or PNG.")


def test_an_unknown_error_is_told_without_its_words(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as caught, plain_errors():
        raise KeyError("/home/someone/secret")
    assert "secret" not in caught.value.message
    assert "unexpected" in caught.value.message
    assert "secret" in caplog.text  # who runs the program can find it


def test_too_little_memory_has_its_own_words():
    with pytest.raises(gr.Error, match="not enough memory"), plain_errors():
        raise MemoryError


def test_a_message_that_is_one_already_stays():
    error = gr.Error("as it is")
    with pytest.raises(gr.Error) as caught, plain_errors():
        raise error
    assert caught.value is error
