"""dbt in a process of its own, which says what it does in a line of JSON for each event.

`python -m warehouse.dbt_process build --threads 2` does what `dbt build --threads 2` does, and ends
with the same exit code. `--on-spark`, before everything else, gives dbt-spark the steps in Python
that it lacks. `warehouse.dbt` starts it and reads the lines.

On the sample it takes a tenth less CPU than dbt's own command with its log as JSON: dbt writes the
JSON of every debug event before it drops it, and its manifest, several 100,000 objects that live to
the end, is looked through at each full collection of garbage.
"""

from __future__ import annotations

import atexit
import gc
import json
import sys
import threading
from collections.abc import Sequence
from typing import Any

from dbt.cli.main import cli
from dbt_common.events.base_types import EventMsg
from dbt_common.events.functions import msg_to_json
from dbt_common.exceptions import env_secrets, scrub_secrets

from warehouse.dbt import FINISHED, ON_SPARK
from warehouse.typos import refuse_typo

# The console gets the lines below instead, and the log file what people read.
_LOGGING = ("--log-level", "none", "--log-level-file", "info")

_ONE_LINE = threading.Lock()  # nodes run side by side


def main(arguments: Sequence[str]) -> None:
    """Run one command of dbt, and exit as dbt does.

    Args:
        arguments: the command and its options; the first may be `ON_SPARK`.

    Raises:
        SystemExit: always. 0 when all is well, 1 when a node failed, 2 when dbt could not run.
    """
    gc.disable()  # until the first node begins
    atexit.register(gc.unfreeze)  # or DuckDB complains of what it did not free
    if arguments[:1] == [ON_SPARK]:
        from warehouse.spark.adapter import extend

        extend()
        arguments = arguments[1:]
    cli([*_LOGGING, *arguments], prog_name="dbt", obj={"callbacks": [_tell]})


def _tell(event: EventMsg) -> None:
    """Print an event, unless it is for those who look for faults of dbt.

    What became of a node is such an event, of which the result is printed. dbt writes the results
    into a file too, which may be that of another command by the time that it is read.
    """
    if event.info.name == "NoNodesForSelectionCriteria":
        refuse_typo(event.data.spec_raw)
    if event.info.name == FINISHED:
        _print(json.dumps(_result_of(event)))
    if event.info.level == "debug":
        return
    if event.info.name == "LogStartLine" and not gc.isenabled():
        gc.freeze()  # what was made so far stays
        gc.enable()
    _print(msg_to_json(event))


def _result_of(event: EventMsg) -> dict[str, Any]:
    """The little that is told of the end of a node."""
    result = event.data.run_result
    return {
        "info": {"name": FINISHED, "level": "info", "msg": ""},
        "data": {
            "unique_id": event.data.node_info.unique_id,
            "status": result.status,
            "message": result.message,
            "failures": result.num_failures,
        },
    }


def _print(line: str) -> None:
    line = scrub_secrets(line, env_secrets())
    with _ONE_LINE:
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
