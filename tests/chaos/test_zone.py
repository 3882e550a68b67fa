"""Files change while builds load them and are killed: a rebuild gives the same."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tests.chaos.zone import Zone

ROUNDS = 3  # the long form is in test_chaos.py


def test_a_landing_zone_equals_a_rebuild_after_builds_that_are_killed_while_files_change(
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    print(f"CHAOS_SEED={seed}")
    with Zone(tmp_path, seed) as zone:
        for _ in range(ROUNDS):
            zone.round()
    assert zone.rows_compared
