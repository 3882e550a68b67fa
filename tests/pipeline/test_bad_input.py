"""Bad files, contracts and settings: one clear line, the right exit code, nothing lost."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ALONE, ROOT, Outcome, Project

GOOD = (
    "order_id,customer_id,order_date,total_amount,status\n"
    "O1,C1,2024-01-01 10:00:00,5.00,completed\n"
    "O2,C1,2024-01-02 10:00:00,6.00,completed\n"
)


def only_error(outcome: Outcome, exit_code: int) -> str:
    """The one error line of a failed command; no traceback, and no other line about it."""
    text = outcome.out + outcome.err
    assert outcome.exit_code == exit_code, text
    assert "Traceback" not in text
    errors = [line for line in outcome.lines if line.startswith(("error: ", "failed: "))]
    assert len(errors) == 1, text
    others = set(outcome.lines) - set(errors)
    expected = re.compile(r"Building |skipped: |warning: |not published: |  [0-9]+ of [0-9]+  ")
    assert all(expected.match(line) for line in others), text
    return errors[0].removeprefix("error: ")


@pytest.fixture
def seeded(project: Project) -> Project:
    """A project whose database holds two orders."""
    project.write_seed("shop/orders.csv", GOOD)
    outcome = project.build("--select", "orders", "base_orders", **ALONE)
    assert outcome.exit_code == 0, outcome.lines
    return project


BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "a missing column": (
        GOOD.replace("status", "state"),
        "missing column status; the header says order_id, customer_id, order_date, total_amount,"
        " state",
    ),
    "a wrong header": (
        "a;b;c\n1;2;3\n",
        "missing column order_id, customer_id, order_date, total_amount, status",
    ),
    "no header": (GOOD.split("\n", 1)[1], "missing column order_id"),
    "a duplicated column": (
        GOOD.replace("status\n", "status,STATUS\n").replace("completed\n", "completed,x\n"),
        "duplicated column status in the header; keep one of them",
    ),
    "an empty file": ("", "the file is empty or begins with a blank line; it needs a header line"),
    "a line with too few fields": (GOOD + "O3,C1\n", "line 4 has too few fields"),
    "a line with too many fields": (GOOD + "O3,C1,2024-01-03,7,completed,x\n", "line 4 has too m"),
    "a quote that is not closed": (
        GOOD + 'O3,"C1,2024-01-03,7,completed\nO4,C1,2024-01-04,8,completed\n',
        "line 4 has a quote that is not closed",
    ),
    "an unreadable byte": (
        GOOD.encode() + b"O3,C\xff,2024-01-03,7,completed\n",
        "line 4 is not UTF-8. Save the file as UTF-8",
    ),
    "two kinds of line ends": (
        GOOD + "O3,C1,2024-01-03,7,completed\r\n",
        "its lines end in two ways",
    ),
    "a spreadsheet": (
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00\xff\xfe\n" * 20,
        "line 1 is not UTF-8",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_seed_is_refused_in_one_line_and_the_loaded_rows_stay(
    seeded: Project, name: str
) -> None:
    content, says = BAD_FILES[name]
    seeded.write_seed("shop/orders.csv", content)
    outcome = seeded.build("--select", "orders", "base_orders", **ALONE)
    # dbt gives up before it runs anything when a file is not text at all.
    line = only_error(outcome, 2 if isinstance(content, bytes) else 1)
    assert line.startswith("seeds/shop/orders.csv: "), line
    assert says in line
    assert seeded.column("select order_id from seeds.orders order by 1") == ["O1", "O2"]
    assert seeded.column("select order_id from staging.base_orders order by 1") == ["O1", "O2"]


def test_a_mended_seed_loads_after_a_bad_one(seeded: Project) -> None:
    seeded.write_seed("shop/orders.csv", GOOD + "O3,C1\n")
    assert seeded.build("--select", "orders", **ALONE).exit_code == 1
    seeded.write_seed("shop/orders.csv", GOOD + "O3,C1,2024-01-03,7,completed\n")
    outcome = seeded.build("--select", "orders", **ALONE)
    assert outcome.exit_code == 0, outcome.lines
    assert seeded.column("select count(*) from seeds.orders") == [3]


BAD_CONTRACTS = {
    "an unknown key of a column": (
        "                required: true\n",
        "                requried: true\n",
        "feed customers, column customer_id: unknown key requried; the keys are required, minimum",
    ),
    "an unknown key of a feed": (
        "              date_column: join_date\n",
        "              date_colunm: join_date\n",
        "feed customers: unknown key date_colunm; the keys are key, date_column, headerless",
    ),
    "an unknown type": (
        "            data_type: text\n",
        "            data_type: money\n",
        "feed customers, column customer_id: data_type money is not one of text, integer",
    ),
    "a key that is not required": (
        "              key: [customer_id]\n",
        "              key: [email]\n",
        "feed customers: key column email must be a column with required: true",
    ),
    "a date column that does not exist": (
        "              date_column: join_date\n",
        "              date_column: joined\n",
        "feed customers: date_column joined is not one of its columns",
    ),
    "an alias that names two columns": (
        "                required: true\n",
        "                required: true\n                aliases: [Email]\n",
        "feed customers: email is the name or an alias of two columns",
    ),
    "a key that is not listed": (
        "              key: [customer_id]\n",
        "              headerless: true\n",
        "feed customers: its key and keyed_feeds() of macros/ingest/contract.sql disagree",
    ),
}


@pytest.mark.parametrize("name", BAD_CONTRACTS)
def test_a_mistake_in_a_contract_is_named(project: Project, name: str) -> None:
    old, new, says = BAD_CONTRACTS[name]
    project.edit("models/staging/shop/_shop__sources.yml", old, new)
    line = only_error(project.build("--select", "customers", **ALONE), 1)
    assert line.startswith("models/staging/shop/_shop__sources.yml: ")
    assert says in line


def test_a_feed_of_texts_alone_cannot_do_without_a_header(project: Project) -> None:
    key = "              key: [id_country]\n"
    path = "models/staging/marketplace/_marketplace__sources.yml"
    project.edit(path, key, f"{key}              headerless: true\n")
    line = only_error(project.build("--select", "countries", **ALONE), 1)
    assert "feed countries: headerless needs a column that is not text" in line


def test_a_feed_that_is_not_listed_is_named(project: Project) -> None:
    project.edit(
        "models/staging/shop/_shop__sources.yml",
        "      - name: customers\n",
        "      - name: refunds\n        columns: []\n      - name: customers\n",
    )
    line = only_error(project.build("--select", "customers", **ALONE), 1)
    assert "feed refunds is not in feed_names()" in line


def test_a_reference_to_a_feed_without_that_column_is_named(seeded: Project) -> None:
    seeded.edit(
        "models/staging/shop/_shop__sources.yml",
        "references: {feed: customers, column: customer_id}",
        "references: {feed: customers, column: customer}",
    )
    line = only_error(seeded.build("--select", "stg_unknown_references", **ALONE), 1)
    assert "contract of feed orders, column customer_id, references: feed customers has no" in line


# ---------------------------------------------------------------------------- settings


def test_a_database_that_another_process_holds_is_named_with_that_process(
    seeded: Project,
) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys\n"
            f"connection = duckdb.connect({str(seeded.database)!r})\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for command in (["build"], ["query", "select 1"]):
            line = only_error(seeded.run("warehouse", *command), 2)
            assert line.startswith("build/warehouse.duckdb is in use by another process (python")
            assert f"PID {holder.pid}" in line
    finally:
        holder.communicate()
    assert seeded.column("select count(*) from seeds.orders") == [2]


def test_a_profile_or_target_that_does_not_exist_is_named(seeded: Project, tmp_path: Path) -> None:
    line = only_error(seeded.build("--profile", "nope"), 2)
    assert line.startswith("there is no profile named nope in profiles/profiles.yml.")
    line = only_error(seeded.build("--target", "nope"), 2)
    assert line == "profile kpi_warehouse has no target named nope. Use one of: duckdb, spark."
    line = only_error(seeded.build(DBT_PROFILES_DIR=str(tmp_path / "nowhere")), 2)
    assert line.startswith(f"the folder {tmp_path}/nowhere of DBT_PROFILES_DIR does not exist.")


def test_an_option_that_dbt_does_not_know_is_named(project: Project) -> None:
    assert "--frobnicate" in only_error(project.build("--frobnicate"), 2)


def test_a_file_that_is_no_database_is_not_touched(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "letter.duckdb"
    other.write_text("Dear reader,\n")
    for command in (["build"], ["query", "select 1"]):
        line = only_error(project.run("warehouse", *command, WAREHOUSE_DB=str(other)), 2)
        assert line.startswith(f"{other} is not a database that this version of DuckDB can read.")
    assert other.read_text() == "Dear reader,\n"


def test_a_folder_that_cannot_be_made_is_named(project: Project) -> None:
    line = only_error(project.build(WAREHOUSE_DB="/proc/nowhere/warehouse.duckdb"), 2)
    assert line.startswith("cannot make the folder of /proc/nowhere/warehouse.duckdb: ")


def test_a_query_before_the_first_build_says_to_build(project: Project) -> None:
    line = only_error(project.run("warehouse", "query", "select 1"), 2)
    assert line == "there is no database build/warehouse.duckdb. Build it: make build"


def test_a_full_disk_is_named_and_the_last_database_still_opens(seeded: Project) -> None:
    a_little_more = seeded.database.stat().st_size + 300_000
    outcome = seeded.run_on_a_full_disk(a_little_more, "warehouse", "build")
    line = only_error(outcome, outcome.exit_code)
    assert outcome.exit_code in (1, 2)
    assert line.startswith("no space left to write build/warehouse.duckdb")
    assert seeded.column("select count(*) > 0 from seeds.orders") == [True]
    # And when there is room again, the next build is whole.
    outcome = seeded.build("--select", "+feed_health", **ALONE)
    assert outcome.exit_code == 0, outcome.lines


# ---------------------------------------------------------------------------- make


def make(*arguments: str, folder: Path = ROOT) -> Outcome:
    done = subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_make_alone_lists_the_commands() -> None:
    outcome = make()
    assert outcome.exit_code == 0
    for command in ("build", "test", "docs", "query", "lint", "clean"):
        assert f"make {command} " in outcome.out


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with the Makefile and nothing installed."""
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / "requirements.lock").write_text("")
    return tmp_path


@pytest.mark.parametrize("version", ["3.9.2", "3.10.14", "3.15.0", "4.0.1"])
def test_make_build_names_a_python_that_is_too_old_or_too_new(bare: Path, version: str) -> None:
    python = bare / "another-python"
    python.write_text(f"""#!{sys.executable}
import platform, sys
sys.version_info = ({version.replace(".", ", ")}, "final", 0)
platform.python_version = lambda: "{version}"
sys.argv = ["-c", *sys.argv[3:]]
exec(sys.orig_argv[3])
""")
    python.chmod(0o755)
    outcome = make("build", f"PYTHON={python}", folder=bare)
    assert outcome.exit_code == 2
    (error,) = (line for line in outcome.lines if line.startswith("error: "))
    assert f"Python 3.11 to 3.14 is needed, {python} is {version}." in error
    assert not (bare / ".venv").exists()


def test_make_build_names_a_python_that_is_not_there(bare: Path) -> None:
    outcome = make("build", "PYTHON=python99", folder=bare)
    assert outcome.exit_code == 2
    error = next(line for line in outcome.lines if line.startswith("error: "))
    assert error.startswith("error: python99 is not installed, or does not start.")
