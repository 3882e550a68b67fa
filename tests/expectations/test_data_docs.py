"""The pages about a run: what they show and hide, and how they replace those before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import great_expectations.expectations as gxe
import pandas as pd
import pytest
from great_expectations.expectations import Expectation

from expectations.data_docs import SuiteOutcome, write_data_docs
from expectations.running import Frame, context, evaluate
from expectations.suites import WARNING, Suite, between, filled, trimmed
from tests.static_pages import faults, read_page
from warehouse.docs_site import FILES, FolderError

MADE_AT = datetime(2026, 11, 21, 15, 5, 59, tzinfo=timezone(timedelta(hours=2)))
RUN_ID = "36043d45-e4e1-4591-9416-94c5709e3a8e"

pytestmark = pytest.mark.filterwarnings("ignore:This pattern is interpreted")  # by pandas

Cells = dict[str, list[Any]]


@pytest.fixture(scope="module")
def batches() -> Any:
    asset = context().data_sources.add_pandas("warehouse").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("all")


def outcome_of(
    batches: Any,
    mart: str,
    expectations: Sequence[Expectation],
    cells: Cells,
    *,
    area: str = "shop",
    rows: int | None = None,
    show_values: bool = True,
    why_not: str = "",
) -> SuiteOutcome:
    """What really becomes of a suite; with `rows`, the cells are a sample of so many."""
    frame = pd.DataFrame(cells)
    suite = Suite(area, mart, expectations, show_values=show_values, why_not=why_not)
    found = Frame(len(frame) if rows is None else rows, frame, is_sampled=rows is not None)
    return evaluate(batches, suite, found)[1]


def write(site: Path, *outcomes: SuiteOutcome) -> None:
    write_data_docs(outcomes, site, run_id=RUN_ID, made_at=MADE_AT)


def text_of(site: Path, page: str = "index.html") -> str:
    return read_page(site / page).text


def contents(site: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in site.iterdir()}


UNITS: Cells = {"units": [1, 2, 3]}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "build" / "data_docs"


# ---------------------------------------------------------------------------- what is shown


def test_every_link_leads_to_a_page_and_nothing_comes_from_outside(
    batches: Any, site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    write(
        site,
        outcome_of(batches, "daily_sales", [between("units", 0, 2)], UNITS),
        outcome_of(batches, "jobs", [between("units", 0, 2)], {"units": []}, area="hiring"),
    )
    assert capfd.readouterr() == ("", "")
    assert set(contents(site)) == {
        *("index.html", "shop.daily_sales.html", "hiring.jobs.html", "style.css", FILES)
    }
    assert faults(site) == []
    index = read_page(site / "index.html")
    assert {"shop.daily_sales.html", "hiring.jobs.html"} <= set(index.links)
    assert index.loads == ["data:,", "style.css"]
    assert "index.html" in read_page(site / "shop.daily_sales.html").links
    for page in site.glob("*.html"):
        assert "script" not in read_page(page).tags


def test_the_first_page_counts_what_became_of_each_expectation(batches: Any, site: Path) -> None:
    write(
        site,
        outcome_of(
            batches,
            "daily_sales",
            [between("units", 0, 2), between("units", 0, 1, severity=WARNING), *filled("units")],
            UNITS,
        ),
        outcome_of(
            batches,
            "order_lines",
            [*filled("units"), between("none", 0, 1)],
            {**UNITS, "none": [None] * 3},
            rows=4000,
        ),
        outcome_of(batches, "jobs", [between("units", 0, 2), *filled("units")], {"units": []}),
    )
    text = text_of(site)
    assert "1 critical expectation does not hold" in text
    assert "2026-11-21 13:05:59 UTC" in text
    assert RUN_ID in text
    assert "Expectations 1 failed, 1 warning, 3 not evaluated, 2 passed Sampled" in text
    assert "Sampled 1 saw a sample of the rows" in text
    assert "shop.daily_sales failed 1 failed, 1 warning, 1 passed daily_sales 3 3" in text
    assert "shop.order_lines passed 1 not evaluated, 1 passed order_lines 4,000 sample 3" in text
    assert "shop.jobs not evaluated 2 not evaluated jobs 0 0" in text
    assert "3 of the rows were checked" in text_of(site, "shop.order_lines.html")


def test_the_title_says_how_bad_it_is(batches: Any, site: Path) -> None:
    good, odd = (
        outcome_of(batches, "daily_sales", [between("units", low, 3, severity=WARNING)], UNITS)
        for low in (0, 2)
    )
    no_rows = outcome_of(batches, "jobs", [between("units", 0, 1)], {"units": []})
    for outcomes, title, outcome in (
        ([good], "Every expectation holds", "passed"),
        ([good, no_rows], "Every expectation that was evaluated holds", "passed"),
        ([odd, no_rows, good], "Nothing critical, 1 warning", "warning"),
        ([no_rows], "Nothing was evaluated", "not evaluated"),
        ([], "Nothing was evaluated", "not evaluated"),
    ):
        write(site, *outcomes)
        assert f"UTC {title} What is" in text_of(site)
        assert f"Outcome {outcome} Run" in text_of(site)


def test_what_failed_comes_first_and_is_marked(batches: Any, site: Path) -> None:
    good, odd = between("units", 0, 3), between("units", 2, 3, severity=WARNING)
    bad = between("units", 0, 1, notes="Few are sold.")
    write(
        site,
        outcome_of(batches, "a", [good], UNITS, area="hiring"),
        outcome_of(batches, "e", [good], {"units": []}, area="marketing"),
        outcome_of(batches, "b", [good], UNITS),
        outcome_of(batches, "c", [good, odd, bad], UNITS),
        outcome_of(batches, "d", [odd], UNITS, area="quality"),
    )
    index = (site / "index.html").read_text()
    order = ["<h2>Shop", "shop.c.html", "shop.b.html", "<h2>Quality", "<h2>Hiring", "<h2>Marketing"]
    places = [index.index(part) for part in order]
    assert places == sorted(places)
    assert index.count('<tr class="failed">') == 1
    suite = (site / "shop.c.html").read_text()
    rows = [part.split('"')[0] for part in suite.split('<tr class="')[1:]]
    assert rows == ["failed", "warning", "passed"]
    assert "Few are sold." in suite


def test_each_expectation_is_a_sentence_with_what_was_observed(batches: Any, site: Path) -> None:
    cells: Cells = {"units": [1, 2, None], "currency": ["BRL", "USD", "USD"]}
    write(
        site,
        outcome_of(
            batches,
            "daily_sales",
            [
                between("units", 0, 3, share=0.95),
                gxe.ExpectColumnUniqueValueCountToBeBetween(column="currency", max_value=1),
                gxe.ExpectColumnValuesToBeInSet(
                    column="currency", value_set=["BRL", "EUR"], severity=WARNING
                ),
                gxe.ExpectColumnQuantileValuesToBeBetween(
                    column="units", quantile_ranges={"quantiles": [0.5], "value_ranges": [[0, 9]]}
                ),
                gxe.ExpectTableRowCountToEqual(value=3, description="Three $rows <always>."),
            ],
            cells,
        ),
    )
    text = text_of(site, "shop.daily_sales.html")
    assert (
        "units values must be greater than or equal to 0 and less than or equal to 3, at least "
        "95 % of the time. all 3 rows, 1 without a value critical"
    ) in text
    assert "currency must have less than or equal to 1 unique values. 2 critical" in text
    assert (
        "currency values must belong to this set: BRL EUR. 2 of 3 rows are otherwise USD 2 times "
        "warning"
    ) in text
    assert "quantile values to be between: column units, quantile_ranges quantiles 0.5" in text
    assert "Three $rows <always>. 3 critical" in text


def test_the_only_row_shows_its_value(batches: Any, site: Path) -> None:
    outcome = outcome_of(batches, "overall", [between("roas", 0, 10)], {"roas": [3.24]})
    write(site, replace(outcome, only_row={"roas": 3.24}))
    assert "less than or equal to 10. 3.24 critical" in text_of(site, "shop.overall.html")


def test_values_are_counted_only_where_all_are_known(batches: Any, site: Path) -> None:
    cells: Cells = {"few": ["b", "a", "b"] + [None] * 27, "many": ["x"] * 30}
    expectations = [gxe.ExpectColumnValuesToBeInSet(column=name, value_set=["z"]) for name in cells]
    write(site, outcome_of(batches, "daily_sales", expectations, cells))
    text = text_of(site, "shop.daily_sales.html")
    assert "3 of 30 rows are otherwise, 27 without a value b 2 times a critical" in text
    assert "30 of 30 rows are otherwise Of the first 20: x 20 times critical" in text


HOSTILE = "<script>alert(\"x\")</script><img src=x onerror='y'>&amp;"


def test_texts_of_the_data_cannot_become_markup(batches: Any, site: Path) -> None:
    name = "<b>units</b>"
    expectations = [
        gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[HOSTILE[1:]], notes=f"1{HOSTILE}"),
        gxe.ExpectColumnDistinctValuesToBeInSet(column=name, value_set=["a"]),
        gxe.ExpectColumnValuesToMatchRegex(column=name, regex=HOSTILE),
        gxe.ExpectColumnValuesToNotBeNull(column=name, description=f"2{HOSTILE}"),
        between("lacks" + HOSTILE, 0, 1),
    ]
    outcome = outcome_of(batches, HOSTILE, expectations, {name: [HOSTILE, "\x00\n"]})
    write(site, replace(outcome, area=HOSTILE))
    for page in (site / "index.html", next(site.glob("shop.*.html"))):
        assert not {"script", "img", "b"} & set(read_page(page).tags)
    text = read_page(next(site.glob("shop.*.html"))).text
    for shown in (HOSTILE, f"1{HOSTILE}", f"2{HOSTILE}", f"lacks{HOSTILE}", name, r"\x00\n"):
        assert shown in text


PERSON = "Ana Souza"


@pytest.mark.parametrize(
    ("expectation", "cell", "observed"),
    [
        (next(trimmed("cell")), f" {PERSON}", "1 of 2 rows are otherwise The values are not shown"),
        (
            gxe.ExpectColumnDistinctValuesToBeInSet(column="cell", value_set=["Zoë"]),
            PERSON,
            "1 unexpected value The values are not shown",
        ),
        (gxe.ExpectColumnMaxToBeBetween(column="cell", max_value=1), 4711, "not shown"),
        (gxe.ExpectColumnMinToBeBetween(column="cell", max_value=1), -4711, "not shown"),
        (
            gxe.ExpectColumnUniqueValueCountToBeBetween(column="cell", max_value=1),
            PERSON,
            "unique values. 2 critical",
        ),
        (between("cell", 0, 1), PERSON, "it could not be evaluated"),
        (
            gxe.ExpectCompoundColumnsToBeUnique(column_list=["cell", "other"]),
            PERSON,
            "all 2 rows",
        ),
    ],
)
def test_values_about_people_are_not_shown(
    batches: Any, site: Path, expectation: Expectation, cell: object, observed: str
) -> None:
    other: object = "Zoë" if isinstance(cell, str) else 0
    outcome = outcome_of(
        batches,
        "stg_customers",
        [expectation],
        {"cell": [cell, other], "other": [1, 2]},
        show_values=False,
    )
    write(site, replace(outcome, only_row={"cell": cell}))
    text = text_of(site, "shop.stg_customers.html")
    assert observed in text
    assert str(cell).strip() not in text
    assert "not shown, for they are about people" in text


def test_an_expectation_that_cannot_be_evaluated_says_why(batches: Any, site: Path) -> None:
    write(site, outcome_of(batches, "daily_sales", [between("unit", 0, 1)], UNITS))
    text = text_of(site, "shop.daily_sales.html")
    assert 'Error: The column "unit" in BatchData does not exist.' in text


def test_what_was_not_evaluated_is_there_with_the_reason(batches: Any, site: Path) -> None:
    nothing: Cells = {"units": [None, None], "orders": [1, 2]}
    both = [between("units", 0, 1), between("orders", 0, 2)]
    write(
        site,
        outcome_of(batches, "no_rows", both, {"units": [], "orders": []}),
        outcome_of(batches, "no_values", both, nothing),
        outcome_of(batches, "drift", both, nothing, why_not="nothing was published before"),
        outcome_of(batches, "empty", [], UNITS),
    )
    no_rows = text_of(site, "shop.no_rows.html")
    assert no_rows.count("there are no rows") == 2
    assert "units values must be greater than" in no_rows
    no_values = text_of(site, "shop.no_values.html")
    assert "Outcome passed Expectations 1 not evaluated, 1 passed" in no_values
    assert no_values.count("there are no values") == 1
    assert text_of(site, "shop.drift.html").count("nothing was published before") == 2
    assert "Nothing was evaluated" in text_of(site, "shop.empty.html")


def test_equal_expectations_keep_their_own_results(batches: Any, site: Path) -> None:
    twice = [between("units", 0, 1), between("units", 0, 1), between("units", 0, 3)]
    write(site, outcome_of(batches, "daily_sales", twice, UNITS))
    assert "2 failed, 1 passed" in text_of(site)


def test_no_result_is_left_out(batches: Any, site: Path) -> None:
    one, other = (
        outcome_of(batches, "daily_sales", [between("units", 0, high)], UNITS) for high in (1, 2)
    )
    with pytest.raises(ValueError, match=r"^shop\.daily_sales has results of expectations that"):
        write(site, replace(one, result=other.result))


def test_a_suite_becomes_a_file_of_its_own_whatever_its_name(batches: Any, site: Path) -> None:
    names = [
        "../../evil",
        "index",
        "Drift",
        "drift",
        "DRIFT",
        "a b",
        "a/b",
        "",
        ".files",
        "é" * 300,
    ]
    outcomes = [
        replace(outcome_of(batches, "x", [between("units", 0, 3)], UNITS), suite=name)
        for name in names
    ]
    write(site, *outcomes)
    assert sorted(path.name for path in site.parent.iterdir()) == ["data_docs"]
    pages = {name.casefold() for name in contents(site)} - {"index.html", "style.css", FILES}
    assert len(pages) == len(names)
    assert {"evil.html", "index-2.html", "drift.html", "drift-2.html", "a_b.html"} <= pages
    assert faults(site) == []
    assert len(set(read_page(site / "index.html").links)) == len(names) + 1


def test_equal_runs_give_equal_pages(batches: Any, site: Path, tmp_path: Path) -> None:
    def one_run(folder: Path) -> dict[str, bytes]:
        cells: Cells = {"name": ["b", "a", "c", "a", "d", "e", "f"], "units": [1, 2, 3, 4, 5, 6, 7]}
        expectations = [
            gxe.ExpectColumnValuesToBeInSet(column="name", value_set=["z"]),
            between("units", 3, 4),
        ]
        write(folder, outcome_of(batches, "daily_sales", expectations, cells))
        return contents(folder)

    assert one_run(site) == one_run(tmp_path / "again") == one_run(site)


def test_thirty_suites_are_written_at_once(batches: Any, site: Path) -> None:
    eight = [between("units", 0, number) for number in range(8)]
    outcomes = [outcome_of(batches, f"mart_{number}", eight, UNITS) for number in range(30)]
    started = time.perf_counter()
    write(site, *outcomes)
    assert time.perf_counter() - started < 0.8
    assert len(contents(site)) == 33


# ---------------------------------------------------------------------------- the folder


def test_pages_of_suites_that_are_gone_go(batches: Any, site: Path) -> None:
    one, other = (outcome_of(batches, name, [], UNITS) for name in ("one", "other"))
    write(site, one, other)
    write(site, other)
    assert set(contents(site)) == {"index.html", "shop.other.html", "style.css", FILES}
    assert [path.name for path in site.parent.iterdir()] == ["data_docs"]


@pytest.mark.parametrize("is_site", [True, False])
def test_files_of_others_are_refused_and_left_alone(
    batches: Any, site: Path, is_site: bool
) -> None:
    outcome = outcome_of(batches, "one", [], UNITS)
    if is_site:
        write(site, outcome)
    (site / "notes").mkdir(parents=True)
    (site / "notes" / "todo.txt").write_text("mine")
    before = sorted(site.rglob("*"))
    with pytest.raises(FolderError, match=r"data_docs holds files .*, such as notes/todo\.txt\. M"):
        write(site, outcome)
    assert sorted(site.rglob("*")) == before
    assert (site / "notes" / "todo.txt").read_text() == "mine"
    (site / "notes" / "todo.txt").unlink()
    (site / "notes").rmdir()
    (site / ".DS_Store").write_text("what a Mac leaves behind")
    write(site, outcome)
    assert set(contents(site)) == {"index.html", "shop.one.html", "style.css", FILES}


def test_a_file_in_place_of_the_folder_is_refused(batches: Any, site: Path) -> None:
    site.parent.mkdir()
    site.write_text("mine")
    with pytest.raises(FolderError, match="data_docs is no folder"):
        write(site, outcome_of(batches, "one", [], UNITS))
    assert site.read_text() == "mine"


def break_down(*_: object, **__: object) -> None:
    raise OSError("no space left on device")


@pytest.mark.parametrize("place", ["page", "list of files", "first rename", "second rename"])
def test_a_run_that_breaks_down_leaves_the_pages_before(
    batches: Any, site: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    write(site, outcome_of(batches, "one", [], UNITS))
    before = contents(site)
    other = outcome_of(batches, "other", [], UNITS)
    write_text, rename = Path.write_text, Path.rename

    def write_but_once(path: Path, *arguments: Any, **options: Any) -> int:
        if path.name == ("index.html" if place == "page" else FILES):
            break_down()
        return write_text(path, *arguments, **options)

    def rename_but_once(path: Path, target: Path) -> Path:
        wanted = "data_docs" if place == "first rename" else ".data_docs.new"
        if path.name == wanted:
            break_down()
        return rename(path, target)

    with monkeypatch.context() as patched:
        if "rename" in place:
            patched.setattr(Path, "rename", rename_but_once)
        else:
            patched.setattr(Path, "write_text", write_but_once)
        with pytest.raises(OSError, match="no space left"):
            write(site, other)
    assert contents(site) == before
    assert [path.name for path in site.parent.iterdir()] == ["data_docs"]
    write(site, other)
    assert "shop.other.html" in contents(site)


@pytest.mark.parametrize("killed", ["while writing", "between the renames", "before removing"])
def test_what_a_killed_run_left_does_no_harm(
    batches: Any, site: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    write(site, outcome_of(batches, "one", [], UNITS))
    before = contents(site)
    new, old = site.parent / ".data_docs.new", site.parent / ".data_docs.old"
    if killed != "before removing":
        new.mkdir()
        (new / "half.html").write_text("<html>")
    if killed == "between the renames":
        site.rename(old)
    if killed == "before removing":
        old.mkdir()
        (old / "index.html").write_text("of the run before")
    other = outcome_of(batches, "other", [], UNITS)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", break_down)
        with pytest.raises(OSError, match="no space left"):
            write(site, other)
    assert contents(site) == before
    write(site, other)
    assert set(contents(site)) == {"index.html", "shop.other.html", "style.css", FILES}
    assert [path.name for path in site.parent.iterdir()] == ["data_docs"]
