"""What a run leaves on the disk: whole or not at all, and the same when it is read."""

import pytest
import torch
from torch import nn

from perpixel.errors import OutputError
from perpixel.train.average import MovingAverage
from perpixel.train.state import Position, collect, mend_folder, replace_folder, restore, saving, write_state


def writer(text):
    def write(folder):
        folder.mkdir()
        (folder / "file").write_text(text)

    return write


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    replace_folder(tmp_path / "best", writer("one"))
    (tmp_path / "best" / "more").write_text("")
    replace_folder(tmp_path / "best", writer("two"))
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["file"]
    assert (tmp_path / "best" / "file").read_text() == "two"
    assert not hidden(tmp_path)


def test_a_folder_stays_where_the_next_one_fails(tmp_path):
    replace_folder(tmp_path / "best", writer("one"))

    def fail(folder):
        writer("half")(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_folder(tmp_path / "best", fail)
    assert (tmp_path / "best" / "file").read_text() == "one"
    assert not hidden(tmp_path)


@pytest.mark.parametrize(
    ("left", "found"),
    [
        ({".best.part": "new", "best": "old"}, "old"),
        ({".best.part": "new", ".best.old": "old"}, "old"),
        ({"best": "new", ".best.old": "old"}, "new"),
        ({".best.old": "old"}, "old"),
    ],
)
def test_what_a_killed_process_left_is_mended(tmp_path, left, found):
    for name, text in left.items():
        writer(text)(tmp_path / name)
    mend_folder(tmp_path / "best")
    assert (tmp_path / "best" / "file").read_text() == found
    assert not hidden(tmp_path)


def test_where_nothing_was_there_is_nothing_to_mend(tmp_path):
    mend_folder(tmp_path / "best")
    assert not list(tmp_path.iterdir())


def test_a_state_gives_back_all_that_was_collected(tmp_path):
    def made(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1), nn.Linear(2, 2))  # the last is idle
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, MovingAverage(model, 0.9), optimizer

    def stepped(model, average, optimizer):
        model[:3](torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(model, 5)

    first, other = made(1), made(2)
    stepped(*first)
    state = collect({"steps": 3}, Position(step=1, best={"error": 1.0}), *first, None)
    write_state(tmp_path / "state.pt", state)
    assert not hidden(tmp_path)
    torch.manual_seed(3)
    stepped(*first)
    restore(torch.load(tmp_path / "state.pt", weights_only=True), *other, None)
    torch.manual_seed(3)
    stepped(*other)
    for name, tensor in first[0].state_dict().items():
        assert torch.equal(other[0].state_dict()[name], tensor), name
    for name, tensor in first[1].values.items():
        assert torch.equal(other[1].values[name], tensor), name
    assert Position(**state["position"]) == Position(step=1, best={"error": 1.0})


def test_only_what_the_disk_refuses_is_called_so(tmp_path):
    with pytest.raises(RuntimeError, match=r"^CUDA out of memory$"), saving(tmp_path / "x", 4, 2):
        raise RuntimeError("CUDA out of memory")
    message = r"save step 4 .*Permission denied.*nothing was saved before"
    with pytest.raises(OutputError, match=message), saving(tmp_path / "x", 4, 0):
        raise PermissionError(13, "Permission denied")
