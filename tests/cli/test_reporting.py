import io
import re
import sys

import pytest

from perpixel.cli import reporting
from perpixel.cli.reporting import describe


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("known", [True, False])
def test_the_bar_shows_on_a_terminal_and_leaves_stdout_alone(monkeypatch, capsys, known):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with reporting.progress("files", 2 if known else None) as show:
        sys.stdout.write("a line of JSON\n")
        show(1, *([] if known else [2]))
        show(2)
    assert re.search(r"files.*2/2", terminal.getvalue())
    assert capsys.readouterr().out == "a line of JSON\n"


@pytest.mark.parametrize(
    ("total", "shown", "stream"), [(1, True, Terminal()), (5, True, io.StringIO()), (5, False, Terminal())]
)
def test_no_bar_for_one_file_without_a_terminal_or_in_other_processes(monkeypatch, total, shown, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with reporting.progress("files", total, shown=shown) as show:
        show(1)
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
