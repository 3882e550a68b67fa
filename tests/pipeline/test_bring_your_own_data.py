"""docs/bring-your-own-data.md says what is so: its tables are the contracts, its steps work."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT, Project, own_environment
from warehouse.landing.files import find_files

PAGE = ROOT / "docs/bring-your-own-data.md"

_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"`([\w./-]+/[\w.-]+)`")


@dataclass(frozen=True)
class Block:
    """A code block of the page.

    Attributes:
        language: as it is marked: sh is run, diff changes a file, any other is of a file.
        verb: the first word of the sentence before it.
        path: the file that the sentence names; empty where it names none.
        text: what is in it.
    """

    language: str
    verb: str
    path: str
    text: str


def section(heading: str) -> str:
    """The text below a heading of the page, up to the next one of its rank."""
    rank = heading.split(" ", maxsplit=1)[0]
    found = re.findall(
        rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(rank)}}} |\Z)",
        PAGE.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert len(found) == 1, heading
    return str(found[0])


def blocks(text: str) -> Iterator[Block]:
    """The code blocks of a section, in order, each with what the paragraph before it says."""
    place = 0
    for fence in _FENCE.finditer(text):
        paragraph = text[place : fence.start()].strip().rsplit("\n\n", maxsplit=1)[-1]
        sentence = re.sub(r"^\d+\. ", "", re.split(r"(?<=\.)\s+", paragraph)[-1].strip())
        paths = _PATH.findall(sentence)
        yield Block(
            fence[2],
            sentence.split(maxsplit=1)[0] if sentence else "",
            paths[0] if paths else "",
            re.sub(rf"^{fence[1]}", "", fence[3], flags=re.MULTILINE),
        )
        place = fence.end()


# ---------------------------------------------------------------------------- the tables


def contracts() -> dict[str, dict[str, Any]]:
    """Each feed's contract, as it stands in YAML."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((ROOT / "models/staging").rglob("*__sources.yml")):
        for source in yaml.safe_load(path.read_text())["sources"]:
            found |= {table["name"]: table for table in source["tables"]}
    return found


def described(contract: dict[str, Any]) -> str:
    """The sentences below a feed's heading."""
    feed = contract["config"]["meta"]["feed"]
    key = ", ".join(f"`{name}`" for name in feed.get("key", []))
    says = [f"Key: {key}." if key else "No key: equal rows all count."]
    if "date_column" in feed:
        says.append(f"Business day: `{feed['date_column']}`.")
    if feed.get("headerless"):
        says.append("A file without a header is accepted.")
    if feed.get("reference"):
        says.append("Its seed is no sample: it is always read.")
    return f"{contract['description']} {' '.join(says)}"


def table(contract: dict[str, Any]) -> str:
    """The table of a feed's columns."""
    rows = ["| column | type | required | rule | aliases |", "|---|---|---|---|---|"]
    for column in contract["columns"]:
        meta = column.get("config", {}).get("meta", {})
        rules = []
        if "minimum" in meta:
            rules.append(f">= {meta['minimum']}")
        if "exclusive_minimum" in meta:
            rules.append(f"> {meta['exclusive_minimum']}")
        if "maximum" in meta:
            rules.append(f"<= {meta['maximum']}")
        if "accepted_values" in meta:
            rules.append(f"one of {', '.join(meta['accepted_values'])}")
        if "references" in meta:
            rules.append(f"refers to `{meta['references']['feed']}.{meta['references']['column']}`")
        cells = [
            f"`{column['name']}`",
            f"`{column['data_type']}`",
            "yes" if meta.get("required") else "",
            "; ".join(rules),
            ", ".join(f"`{alias}`" for alias in meta.get("aliases", [])),
        ]
        rows.append(" ".join(["", *(f"| {cell}" if cell else "|" for cell in cells), "|"]).strip())
    return "\n".join(rows)


def test_the_page_has_the_feeds_of_the_contracts_and_no_others() -> None:
    assert sorted(re.findall(r"^### (\w+)$", section("## The feeds"), re.MULTILINE)) == sorted(
        contracts()
    )
    assert len(contracts()) > 0


@pytest.mark.parametrize("feed", contracts())
def test_the_table_of_a_feed_is_its_contract(feed: str) -> None:
    text = section(f"### {feed}")
    assert text.strip().split("\n\n")[0].split() == described(contracts()[feed]).split()
    assert re.findall(r"^\|.*\|$", text, re.MULTILINE) == table(contracts()[feed]).splitlines()


def test_the_page_names_the_feeds_whose_files_need_no_header() -> None:
    headerless = [
        feed
        for feed, contract in contracts().items()
        if contract["config"]["meta"]["feed"].get("headerless")
    ]
    text = " ".join(PAGE.read_text().split())
    (sentence,) = re.findall(r"A file without a header is accepted for (.*?),\s+when", text)
    assert sorted(re.findall(r"`(\w+)`", sentence)) == sorted(headerless)


# ---------------------------------------------------------------------------- the build


def follow(project: Project, steps: str) -> None:
    """Do what the code blocks of a section say, in the project's folder."""
    for block in blocks(steps):
        if block.language == "sh":
            run(project, block.text)
            continue
        assert block.path, f"no file is named before:\n{block.text}"
        path = project.folder / block.path
        if block.language == "diff":
            apply_diff(path, block.text)
        elif block.verb == "Append":
            assert path.read_text().endswith("\n"), block.path
            path.write_text(path.read_text() + block.text)
        else:
            assert block.verb in ("Write", "Example,", "For"), block
            assert not path.exists(), block.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)


def apply_diff(path: Path, diff: str) -> None:
    """Change the one place of a file that has the lines which the diff keeps or takes away."""
    marked = diff.splitlines(keepends=True)
    assert all(line[0] in " +-" for line in marked), diff
    old = "".join(line[1:] for line in marked if line[0] != "+")
    new = "".join(line[1:] for line in marked if line[0] != "-")
    text = path.read_text()
    assert text.count("\n" + old) == 1, f"{path} has not exactly one place for:\n{diff}"
    path.write_text(text.replace("\n" + old, "\n" + new))


def run(project: Project, commands: str) -> str:
    """Run commands in the project's folder as a person types them, with the project's Makefile."""
    binaries = project.folder / ".venv/bin"
    if not binaries.exists():  # a virtual environment that `make` finds installed
        binaries.mkdir(parents=True)
        python = binaries / "python"
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        for name in ("Makefile", "requirements.lock"):
            shutil.copy2(ROOT / name, project.folder)
        (project.folder / ".venv/installed").touch()
    done = subprocess.run(
        ["bash", "-eu", "-c", commands],
        cwd=project.folder,
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def examples() -> dict[str, Block]:
    """The example file of each feed."""
    found = {}
    for feed in contracts():
        (found[feed],) = blocks(section(f"### {feed}"))
    return found


def rows_of(feed: str, block: Block) -> int:
    """How many rows an example has; none has a line break in a cell."""
    lines = block.text.splitlines()
    first = contracts()[feed]["columns"][0]["name"]
    return len(lines) - int(re.split("[,;\t]", lines[0])[0] == first)


@pytest.fixture(scope="module")
def with_examples(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project built on the example files of the page, without the sample."""
    project = Project(tmp_path_factory.mktemp("examples") / "project")
    for feed in contracts():
        follow(project, section(f"### {feed}"))
    outcome = project.build()
    assert outcome.exit_code == 0, outcome.out + outcome.err
    return project


@pytest.fixture(scope="module")
def changed(with_examples: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """That project after the steps of the page for an alias, a column and a feed, built again."""
    project = Project(tmp_path_factory.mktemp("changed") / "project", parsed_from=with_examples)
    shutil.copytree(
        with_examples.folder / "landing", project.folder / "landing", dirs_exist_ok=True
    )
    shutil.copy2(with_examples.database, project.database)
    for heading in ("## Add an alias", "## Add a column", "## Add a feed"):
        follow(project, section(heading))
    outcome = project.build()
    assert outcome.exit_code == 0, outcome.out + outcome.err
    return project


def test_the_three_commands_make_numbers_of_one_file(
    with_examples: Project, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", parsed_from=with_examples)
    example = examples()["ads_spend"]
    (project.folder / Path(example.path).name).write_text(example.text)
    (project.folder / example.path).parent.mkdir(parents=True, exist_ok=True)
    (commands, *_) = blocks(PAGE.read_text())
    assert [line.split()[0] for line in commands.text.splitlines()] == ["cp", "make"]
    said = run(project, commands.text)
    assert "Published" in said
    assert project.query(
        "select feed, rows_accepted from marts.feed_health "
        "where rows_accepted > 0 and feed <> 'fx_rates'"
    ) == [("ads_spend", rows_of("ads_spend", example))]
    assert project.query("select sum(spend) > 0 from marts.ads_performance_daily") == [(True,)]


@pytest.mark.parametrize("feed", contracts())
def test_a_fresh_clone_has_the_folder_of_each_feed(feed: str) -> None:
    assert (ROOT / "landing" / feed).is_dir()


@pytest.mark.parametrize("feed", contracts())
def test_each_row_of_the_example_file_of_a_feed_is_accepted(
    feed: str, with_examples: Project
) -> None:
    example = examples()[feed]
    assert rows_of(feed, example) > 0
    assert with_examples.query(
        "select rows_read, rows_accepted, rows_rejected from intermediate.int_feed_files "
        f"where feed = '{feed}' and file = '{example.path}'"
    ) == [(rows_of(feed, example), rows_of(feed, example), 0)]


def test_the_example_files_belong_together(with_examples: Project) -> None:
    assert with_examples.column("select sum(unknown_references) from marts.feed_health") == [0]
    sold, in_usd = with_examples.query(
        "select sum(total_sales), sum(total_sales_usd) from marts.daily_sales"
    )[0]
    assert sold > in_usd > 0
    for mart in ("sales_by_category_daily", "country_relationships", "hires_by_quarter"):
        assert with_examples.records(mart), mart


def test_the_steps_for_an_alias_let_its_header_in(changed: Project) -> None:
    assert changed.query(
        "select order_id, total_amount from staging.stg_orders "
        "where source_file = 'landing/orders/april.csv'"
    ) == [("O4", 37)]


def test_the_steps_for_a_column_bring_it_to_staging_beside_files_without_it(
    changed: Project,
) -> None:
    segments = dict(changed.query("select customer_id, segment from staging.stg_customers"))
    assert segments == {"C1": None, "C2": None, "C3": None, "C4": "wholesale"}
    assert changed.column("select segment from staging.base_customers where customer_id = 'C4'")


def test_the_steps_for_a_feed_make_one_that_is_judged_and_counted(changed: Project) -> None:
    assert sorted(changed.column("select return_id from staging.stg_returns")) == ["R1", "R2"]
    assert changed.query(
        "select files, rows_read, rows_accepted, rows_rejected, unknown_references "
        "from marts.feed_health where feed = 'returns'"
    ) == [(1, 3, 2, 1, 0)]
    assert changed.query(
        "select area, line_number, reasons from marts.rejected_rows where feed = 'returns'"
    ) == [("shop", 4, ['refund: "-1.00" is not >= 0'])]


def test_the_commands_to_look_at_files_and_rejected_rows_work(changed: Project) -> None:
    *_, files = blocks(section("## What happens to a file"))
    (rejected,) = blocks(section("## Rejected rows"))
    assert "landing/orders/april.csv" in run(changed, files.text)
    commands = rejected.text.replace("orders", "returns")
    assert commands != rejected.text
    assert "refund" in run(changed, commands)
    with (changed.folder / "build/rejected/returns.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == [
        *("return_id", "order_id", "returned_at", "refund"),
        *("reasons", "file", "line_number"),
    ]
    assert (row["return_id"], row["line_number"]) == ("R3", "4")
    assert row["file"] == "landing/returns/april.csv"


def test_a_file_is_not_taken_before_it_is_renamed(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    (project.folder / "export.csv").write_text(examples()["orders"].text)
    orders = project.folder / "landing/orders"
    orders.mkdir(parents=True, exist_ok=True)
    (commands,) = blocks(section("## Write, then rename"))
    write, rename = commands.text.splitlines()
    run(project, write)
    assert [path for path in orders.iterdir() if path.name != ".gitkeep"] != []
    assert find_files(orders) == []
    run(project, rename)
    assert [file.name for file in find_files(orders)] == ["march.csv"]
