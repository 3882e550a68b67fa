"""Whether the sample counts in a run: until there is a file of one's own, unless a setting says so.

Decided once a run, before any feed loads, so that a file that arrives meanwhile does not split it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from warehouse.landing.files import find_files
from warehouse.settings import Settings

# Of tables of logs, as SQL: whether they have files of one's own, and the sample, loaded.
Logs = Callable[[Sequence[str]], tuple[bool, bool]]

OWN_FILES = "file like 'landing/%'"  # in the log of files


class SampleChoice:
    """Decides once a run, for all its feeds."""

    def __init__(self) -> None:
        """Nothing was decided yet."""
        self._lock = threading.Lock()
        self._run = ""
        self._has_sample = False

    def has_sample(
        self, settings: Settings, call: Mapping[str, Any], logs: Logs, warn: Callable[[str], None]
    ) -> bool:
        """Whether the sample counts in this run.

        Args:
            settings: say so, or leave it to the files.
            call: that of the macro; `invocation_id` is the run, `samples` the feeds whose seed is
                the sample, each with its `log`, None where this run forgets it.
            logs: looks into logs.
            warn: takes a line when the sample is left out from now on.
        """
        with self._lock:
            if self._run != call["invocation_id"]:
                self._has_sample = _decide(settings, call["samples"], logs, warn)
                self._run = call["invocation_id"]
            return self._has_sample


SAMPLE = SampleChoice()


def own_file(landing: Path, feeds: Sequence[str]) -> str | None:
    """A file of one's own, as `landing/<feed>/<name>`; None without any.

    Args:
        landing: the landing zone.
        feeds: those to look at. The folder of one that cannot be read has none: its own load says
            what is wrong with it.
    """
    for feed in feeds:
        with suppress(OSError):
            for found in find_files(landing / feed):
                return f"landing/{feed}/{found.name}"
    return None


def _decide(
    settings: Settings,
    samples: Sequence[Mapping[str, Any]],
    logs: Logs,
    warn: Callable[[str], None],
) -> bool:
    if settings.sample_data is not None:
        return settings.sample_data
    own = own_file(settings.landing, [sample["feed"] for sample in samples])
    knows_own, knows_sample = logs([sample["log"] for sample in samples if sample["log"]])
    if own is None and not knows_own:
        return True
    if knows_sample:
        warn(
            f"the sample is left out from now on, since {own or 'the database'} "
            f"{'is a file' if own else 'has rows'} of your own; WAREHOUSE_SAMPLE_DATA=1 keeps it"
        )
    return False
