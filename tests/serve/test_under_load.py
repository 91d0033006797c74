"""The measurement of the server under load, in small: every answer is right, and what is refused is refused in form."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of another process is read from /proc")
def test_many_clients_at_once(repository, program_environment):
    command = [sys.executable, "-m", "benchmarks.serve_load", "--requests", "48", "--clients", "8"]
    # Of so little work neither number says much; a leak or a server that works twice would still be seen.
    command += ["--sides", "96", "160", "--memory", "0.2", "--share", "0.5"]
    environment = {**program_environment, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=540)
    assert run.returncode == 0, run.stdout + run.stderr
    told = dict(line.strip("| ").split(" | ") for line in run.stdout.splitlines() if line.startswith("| "))
    told = {name.strip(): value.strip() for name, value in told.items()}
    assert told["right"] == told["requests"] == "48"
    assert int(told["burst: right"]) + int(told["burst: 429"]) == int(told["burst"])
