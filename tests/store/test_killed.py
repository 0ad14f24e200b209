"""A process killed while it ingests leaves all or nothing of each batch, and repeating it completes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 50
BATCHES, ROWS = 4, 100


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_killed_at_fifty_moments(tmp_path):
    program = Path(__file__).parent / "killed.py"
    told = subprocess.run(
        [sys.executable, str(program), str(tmp_path), str(KILLS)], capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(lines) == KILLS
    assert sum(line["killed"] for line in lines) > KILLS / 2
    reached = set()
    for line in lines:
        code, said = line["after"]
        assert code == 0, f"the store could not be opened: {told.stderr}"
        found = json.loads(said)
        assert set(found["batches"]) <= {ROWS}
        reached.add(len(found["batches"]))
        assert found["rows"] == [ROWS * len(found["batches"])] * 2
        assert found["runs"] == found["batches"]
        assert found["models"] == [f"model-{k}" for k in range(len(found["batches"]))]
        code, said = line["whole"]
        assert code == 0, f"the ingest could not be repeated: {told.stderr}"
        whole = json.loads(said)
        assert whole["rows"] == [ROWS * BATCHES] * 2
        assert whole["batches"] == whole["runs"] == [ROWS] * BATCHES
    assert len(reached) > 2  # the kills were spread over the batches
