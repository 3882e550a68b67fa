"""What expectations add to a build of the sample: the same build with and without them, in turn.

The seconds are those of the whole process of dbt, with every test; the publication is left out of
both, since nothing is published without expectations.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tests.support import Project

WITH = ("--exclude", "publication")
WITHOUT = (*WITH, "expectation_results")


def build_seconds(project: Project, *arguments: str) -> float:
    """Build everything but what is left out."""
    started = time.perf_counter()
    outcome = project.dbt("build", *arguments)
    if outcome.exit_code:
        raise SystemExit("\n".join(outcome.lines))
    return time.perf_counter() - started


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "project")
        build_seconds(project, *WITHOUT)  # parses, and loads the feeds
        seconds: dict[tuple[str, ...], list[float]] = {WITHOUT: [], WITH: []}
        for _ in range(rounds):
            for arguments, found in seconds.items():
                found.append(build_seconds(project, *arguments))
    without, with_them = (statistics.median(found) for found in seconds.values())
    print("| build of the sample | seconds |\n|---|---|")
    print(f"| without expectations | {without:.1f} |\n| with them | {with_them:.1f} |")
    print(f"| what they add (aim 6 s) | {with_them - without:.1f} |")


if __name__ == "__main__":
    main()
