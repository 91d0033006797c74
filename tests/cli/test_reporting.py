import io
import re
import sys

import pytest

from perpixel.cli import reporting
from perpixel.cli.reporting import describe


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_shows_on_a_terminal_and_leaves_stdout_alone(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with reporting._progress(2) as advance:
        sys.stdout.write("a line of JSON\n")
        advance()
        advance()
    assert re.search(r"2/2", terminal.getvalue())
    assert capsys.readouterr().out == "a line of JSON\n"


@pytest.mark.parametrize(("total", "stream"), [(1, Terminal()), (5, io.StringIO())])
def test_no_bar_for_one_file_or_without_a_terminal(monkeypatch, total, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with reporting._progress(total) as advance:
        advance()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.jpg"), "a.jpg: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "out of memory: give a limit such as --max-memory 2GB, or a smaller image"),
    ],
)
def test_errors_of_the_machine_are_plain_sentences(error, text):
    assert describe(error) == text
