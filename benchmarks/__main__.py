"""perpixel beside transformers on the same work: time, memory, difference, and the distance from the floor.

    python -m benchmarks --save table.md
    python -m benchmarks --only "DPT" "ViTMatte-S 512" --repeats 5

Both sides have the same random weights and input and take turns in one process, perpixel's models after `optimize()`.
The ratio is the reference's time over perpixel's, above 1 is faster: the median of the turns, and their lowest and
highest. Time is the processor's, with one thread, because other work on the machine does not count in it. Memory
is the highest resident size during a call, less that before it. The difference is the largest one, in standard
deviations of the reference's output. The floor is the time that the model's multiplications and additions, as the
reference does them, would take at the speed that products of large matrices reach in the same run. It is no bound
where fewer multiplications do, so a share above 100 % is possible.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# The largest difference, in standard deviations, that is still the same result.
ALLOWED = 1e-3


def main() -> int:
    """Measure, print and save; 1 where results differ."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: whether it runs and results are the same")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="works whose name holds one of these")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path, metavar="FILE", help="where the table is written too")
    arguments = parser.parse_args()
    repeats = 1 if arguments.smoke else arguments.repeats
    if repeats < 1:
        parser.error("--repeats must be at least 1")

    import torch
    import transformers

    from benchmarks import depth, matting, others, reduced, segmentation
    from benchmarks.measure import best_speed, measure
    from benchmarks.table import HEADER, row, table

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(arguments.threads)
    works = [
        work for module in (matting, segmentation, depth, others, reduced) for work in module.works(arguments.smoke)
    ]
    chosen = [
        (name, make)
        for name, make in works
        if arguments.only is None or any(part.lower() in name.lower() for part in arguments.only)
    ]
    if not chosen:
        parser.error(f"no work has such a name; there are: {', '.join(name for name, _ in works)}")
    peak = best_speed(512 if arguments.smoke else 2048)
    about = f"{_versions()}, threads: {arguments.threads}, turns: {repeats}, peak: {peak / 1e9:.0f} GFLOP/s"
    print(about, *HEADER, sep="\n", flush=True)
    found = []
    for name, make in chosen:
        found.append(measure(name, make(), repeats, peak))
        print(row(found[-1]), flush=True)
        if arguments.save is not None:  # after each, so that a run that is stopped leaves what it has
            arguments.save.write_text(f"{about}\n\n{table(found)}", encoding="utf-8")
    different = [one for one in found if one.difference is not None and not one.difference <= ALLOWED]
    for one in different:
        print(f"{one.name}: the results differ by {one.difference:.1e}, more than {ALLOWED:.0e}", file=sys.stderr)
    return 1 if different else 0


def _versions() -> str:
    import torch
    import transformers

    return f"torch {torch.__version__}, transformers {transformers.__version__}"


if __name__ == "__main__":
    sys.exit(main())
