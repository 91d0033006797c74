"""The benchmarks run, in tiny sizes, and both sides have the same results. Times are never looked at."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_smoke_run_finds_the_same_results(tmp_path: Path, program_environment: dict[str, str]) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("pymatting")
    saved = tmp_path / "table.md"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke", "--save", str(saved)],
        cwd=REPOSITORY,
        env=program_environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in saved.read_text("utf-8").splitlines() if line.startswith("| ")][1:]
    names = " ".join(row[0] for row in rows)
    for name in (
        "ViTMatte",
        "unknown",
        "Mask2Former",
        "panoptic",
        "DPT-Large",
        "DINOv2",
        "bf16",
        "foreground",
        "import",
    ):
        assert name in names
    compared = [float(row[3]) for row in rows if row[3].strip() != "–"]
    assert len(compared) == 5
    assert max(compared) <= 1e-3


def test_a_difference_fails_and_a_time_does_not(capsys, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks import __main__ as program
    from benchmarks import depth, matting, others, reduced, segmentation
    from benchmarks.measure import Work

    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    same, other = torch.arange(4.0), torch.arange(4.0) + 0.01
    for module in (matting, segmentation, depth, reduced):
        monkeypatch.setattr(module, "works", lambda smoke: iter(()))
    for ours, code in ((same, 0), (other, 1)):
        work = Work(lambda: same, lambda ours=ours: ours, lambda a, b: float((a - b).abs().max()))
        monkeypatch.setattr(others, "works", lambda smoke, work=work: iter([("a", lambda: work)]))
        monkeypatch.setattr(sys, "argv", ["benchmarks", "--smoke"])
        threads = torch.get_num_threads()
        try:
            assert program.main() == code
        finally:
            torch.set_num_threads(threads)
    assert "the results differ by 1.0e-02" in capsys.readouterr().err


def test_the_clock_counts_finished_children(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.measure import clock

    start = clock()
    subprocess.run([sys.executable, "-c", "sum(range(10_000_000))"], check=True)
    assert clock() - start > 0.05
