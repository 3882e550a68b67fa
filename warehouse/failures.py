"""Say what failed in one line each: what, where, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

from warehouse.dbt import NodeResult, Run
from warehouse.settings import Settings

DRIFT = "quality.drift"  # the suite that compares with what is published
EMPTY_FEEDS = "every_feed_with_files_has_rows"  # the test of feed_health

NO_SPACE_TO_PUBLISH = (
    "no space left to write {published}. Free some space, or set WAREHOUSE_PUBLISHED to another "
    "disk, then try again."
)

# What DuckDB and dbt say, and the line a person needs. The groups of the pattern fill the line,
# {database} is the database file, {published} the folder of snapshots, {spark} a host and port.
_KNOWN = [
    (
        r"^(?=.*\.parquet)(?=.*(No space left on device|File too large|Could not write all bytes|"
        r"disk quota exceeded))",
        NO_SPACE_TO_PUBLISH,
    ),
    (
        r"Could not set lock on file .*?Conflicting lock is held in (?P<program>.+?) "
        r"\(PID (?P<pid>\d+)\)",
        "{database} is in use by another process ({program}, PID {pid}). Close it, then try again.",
    ),
    (
        r"No space left on device|File too large|Could not write all bytes|"
        r"failed to offload data block|disk quota exceeded",
        "no space left to write {database} or its temporary files. Free some space, or set "
        "WAREHOUSE_DB to another disk, then try again.",
    ),
    (
        r"exists, but it is not a valid DuckDB database file|Trying to read a database file with "
        r"version number|Serialization Error",
        "{database} is not a database that this version of DuckDB can read. Move it away, or set "
        "WAREHOUSE_DB to another file, then try again; a build makes it anew from the input.",
    ),
    (
        r"Cannot open file .*: Permission denied|Read-only file system|attempt to write a readonly",
        "{database} cannot be written: no permission. Set WAREHOUSE_DB to a file you may write.",
    ),
    (
        r"Path '(?P<path>.+?)' does not exist",
        "the folder {path} of DBT_PROFILES_DIR does not exist. Unset it, or set it to profiles.",
    ),
    (
        r"Could not find profile named '(?P<profile>.+?)'",
        "there is no profile named {profile} in {profiles}/profiles.yml. Unset DBT_PROFILE and "
        "DBT_PROFILES_DIR, or add the profile.",
    ),
    (
        r"The profile '(?P<profile>.+?)' does not have a target named '(?P<target>.+?)'.*?"
        r"are:\s*(?P<targets>.+)",
        "profile {profile} has no target named {target}. Use one of: {targets}.",
    ),
    (
        r"Could not connect to any of|TTransportException|TSocket read 0 bytes|Broken pipe|"
        r"Connection (refused|reset|lost|aborted)|stopped SparkContext|SparkContext was shut down",
        "the Spark cluster at {spark} does not answer, or went away. Start it with make spark-up, "
        "or set WAREHOUSE_SPARK_HOST and WAREHOUSE_SPARK_PORT, then build again; what is published "
        "stays as it is.",
    ),
    (
        r"CSV Parser state machine reached an invalid state.*?file = (?P<file>\S+)",
        "{file}: its lines end in two ways, or a quote is not closed. Save it with one kind of "
        "line end (LF or CRLF) and UTF-8; nothing of it was loaded.",
    ),
]


def explain(run: Run, settings: Settings) -> list[str]:
    """One line for each cause of a run's failure, causes before consequences.

    Args:
        run: a run of dbt that failed.
        settings: where the database and the profiles are.

    Returns:
        Lines that begin with `error:` or `failed:`; never empty.
    """
    lines = [f"error: {known_failure(text, settings) or _own_words(text)}" for text in run.errors]
    lines += [_explain_node(node, settings) for node in run.results if node.status == "error"]
    has_empty_feeds = any(
        node.status == "fail" and node.name == EMPTY_FEEDS for node in run.results
    )
    lines += [
        _explain_node(node, settings)
        for node in run.results
        if node.status == "fail" and node.name != EMPTY_FEEDS
    ]
    if has_empty_feeds:
        lines += [f"failed: no row of feed {text}" for text in run.empty_feeds]
        lines.append(
            "Mend the files, or take them away. To publish without the rows of these feeds: "
            "make build ARGS=\"--vars '{accept_empty_feeds: true}'\""
        )
    lines += [f"failed: expectation {text}" for text in run.expectations]
    if any(text.startswith(f"{DRIFT}: ") for text in run.expectations):
        lines.append(
            "The numbers are far from those that readers see. If that is right, accept it for "
            "this build: make build ARGS=\"--vars '{accept_drift: true}'\""
        )
    skipped = sum(result.status == "skipped" for result in run.results)
    if skipped:
        lines.append(f"skipped: {skipped} models, tests or exposures that depend on these.")
    unique = list(dict.fromkeys(lines))
    return unique or [f"error: dbt ended with exit code {run.exit_code}; see logs/dbt.log."]


def _explain_node(node: NodeResult, settings: Settings) -> str:
    if node.kind == "test" and node.status == "fail":
        if node.name == "expectations_hold":
            return (
                f"failed: test {node.name}, {node.failures} did not hold; "
                "see them with: make quality. The suites are in expectations/."
            )
        rows = "1 row" if node.failures == 1 else f"{node.failures} rows"
        return f"failed: test {node.name}, {rows}. See them: dbt show --select {node.name}"
    if node.kind == "unit_test" and node.status == "fail":
        return (
            f"failed: unit test {node.name}, the model gives other rows than expected. "
            f"See them: dbt test --select {node.name}"
        )
    text = known_failure(node.message, settings)
    if text is None:
        text = _own_words(node.message)
        if node.name not in text and not _names_a_file(text):
            text = f"{node.kind} {node.name}: {text}"
    return f"error: {text}"


def known_failure(text: str, settings: Settings) -> str | None:
    """The line for a message of dbt or DuckDB that people can do something about.

    Args:
        text: the message, of several lines.
        settings: where the database and the profiles are.

    Returns:
        What is wrong, where, and what to do; None for a message that is not known.
    """
    if "codec can't decode byte" in text:
        return _explain_bad_bytes(settings)
    flat = " ".join(text.split())
    for pattern, line in _KNOWN:
        match = re.search(pattern, flat)
        if match:
            found = {key: _shown(key, value, settings) for key, value in match.groupdict().items()}
            return line.format(
                database=settings.shown(settings.database),
                profiles=settings.shown(settings.profiles),
                published=settings.shown(settings.published),
                spark=settings.spark,
                **found,
            )
    return None


def _shown(key: str, value: str, settings: Settings) -> str:
    """A part of a message as people know it: programs by name, files from the root, lists."""
    if key == "program":
        return Path(value).name
    if key == "targets":  # dbt lists them behind dashes
        return ", ".join(value.strip(" -").split(" - "))
    return settings.shown(Path(value)) if value.startswith("/") else value


def _own_words(text: str) -> str:
    """The message of dbt without its heading and its trace of macros."""
    lines = [line.strip() for line in text.strip().splitlines()]
    where = re.match(r"Compilation Error in (.+) \((.+)\)$", lines[0])
    while len(lines) > 1 and re.match(r"(Compilation|Runtime|Database|Parsing) Error", lines[0]):
        lines = lines[1:]
    kept = [f"{where[2]}: {where[1]}:"] if where and not _names_a_file(lines[0]) else []
    for line in lines:
        if line.startswith(("> in ", "> called by ", "compiled code at", "at org.", "at java.")):
            break
        kept.append(re.sub(r"^org\.apache\.hive\S*: Error running query: ", "", line))
    if any(line.startswith("Python model failed:") for line in kept):  # then a traceback of Python
        kept = [re.sub(r"^([a-z_]+\.)+", "", [line for line in kept if line][-1])]
    return " ".join(" ".join(kept).split())


def _names_a_file(text: str) -> bool:
    """Whether a message begins with the file that it is about."""
    return re.match(r"\S+\.(yml|csv|sql|py): ", text) is not None


def _explain_bad_bytes(settings: Settings) -> str:
    """Name the line of a seed that is not UTF-8, since dbt gives up without naming the file."""
    for path in sorted((settings.root / "seeds").rglob("*.csv")):
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return (
                    f"{settings.shown(path)}: line {number} is not UTF-8. "
                    "Save the file as UTF-8; nothing of it was loaded."
                )
    return "a file of the project is not UTF-8. Save it as UTF-8."
