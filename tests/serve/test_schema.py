"""What OpenAPI says is what the server does: schemathesis asks for it, in the ways that are said and in others."""

import subprocess
import sys
from pathlib import Path

import pytest

from serve.live import live
from serve.served import make_app

EXAMPLES = 25
# No schema can say that bytes are a picture, that it has the size of its trimap, or what models are served.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 413, 415, 422, 429]
"""


@pytest.mark.slow
def test_the_server_does_what_its_description_says(tmp_path):
    """All checks that schemathesis has by default, on examples, on the edges of the schema, and at random."""
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("schemathesis is not installed")
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    with live(make_app(max_pixels=40_000, max_upload=200_000)) as url:
        command = [program, "run", f"{url}/openapi.json", "--seed", "1", "--no-color", "--workers", "2"]
        command += ["--max-examples", str(EXAMPLES), "--request-timeout", "30", "--generation-database", "none"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
