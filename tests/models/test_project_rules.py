"""Rules of the house, asked of the manifest and of the built database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import ROOT, Project
from warehouse.audit import faults_of_api
from warehouse.settings import NOT_A_DATABASE

Node = dict[str, Any]

MART_FOLDERS = ("marts", "quality")
NUMBERS = re.compile(r"(decimal|bigint|integer|double)")

# Rooms of the house from left to right; a model may read its own room and those named.
MAY_READ = {
    "base": {"source", "seed", "base"},
    "stg": {"base"},
    "int": {"stg", "int"},
    "mart": {"stg", "int", "mart"},
    "publication": {"mart"},
}


@pytest.fixture(scope="module")
def manifest(built: Project) -> Node:
    return built.manifest()


def models_of(manifest: Node) -> list[Node]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def marts_of(manifest: Node) -> list[Node]:
    found = [node for node in models_of(manifest) if room(node) == "mart"]
    files = [file for name in MART_FOLDERS for file in (ROOT / "models" / name).rglob("*")]
    assert len(found) == sum(file.suffix in (".sql", ".py") for file in files)
    return found


def room(node: Node) -> str:
    """The room of a model: base, stg, int, mart or publication; of the rest the resource type."""
    if node["resource_type"] != "model":
        return str(node["resource_type"])
    if node["fqn"][1] in MART_FOLDERS:
        return "mart"
    return str(node["name"].split("_")[0])


def generic_tests_on(manifest: Node, model: Node, name: str) -> list[Node]:
    return [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test"
        and node.get("attached_node") == model["unique_id"]
        and (node.get("test_metadata") or {}).get("name") == name
    ]


def metrics_of(mart: Node) -> set[str]:
    return {
        name for name, column in mart["columns"].items() if "formula" in column["config"]["meta"]
    }


def test_every_mart_has_an_enforced_contract_with_a_type_for_each_column(manifest: Node) -> None:
    for mart in marts_of(manifest):
        if mart["language"] == "python":  # dbt enforces none there
            assert generic_tests_on(manifest, mart, "has_declared_columns"), mart["name"]
        else:
            assert mart["config"]["contract"]["enforced"], mart["name"]
        assert all(column["data_type"] for column in mart["columns"].values()), mart["name"]


def test_every_mart_declares_a_grain_and_tests_it(manifest: Node) -> None:
    for mart in marts_of(manifest):
        grain = mart["config"]["meta"]["grain"]
        assert set(grain) <= set(mart["columns"]), mart["name"]
        assert generic_tests_on(manifest, mart, "grain"), mart["name"]


def test_the_first_comment_of_every_model_says_its_grain(manifest: Node) -> None:
    for model in models_of(manifest):
        head = model["raw_code"].split("with\n")[0].split("{{")[0]
        comment = "# " if model["language"] == "python" else "-- "
        assert head.startswith(comment), model["name"]
        assert re.search(rf"^{comment}Grain: one row", head, re.MULTILINE), model["name"]


def test_every_number_of_a_mart_has_a_formula(manifest: Node) -> None:
    for mart in marts_of(manifest):
        grain = mart["config"]["meta"]["grain"]
        for name, column in mart["columns"].items():
            is_id = name == "id" or name.endswith("_id")
            if NUMBERS.match(column["data_type"]) and name not in grain and not is_id:
                assert "formula" in column["config"]["meta"], f"{mart['name']}.{name}"


def test_every_metric_of_a_mart_is_expected_by_a_unit_test(manifest: Node) -> None:
    missing = []
    for mart in marts_of(manifest):
        if mart["language"] == "python":  # dbt has no unit tests for it: tests/expectations/
            continue
        expected: set[str] = set()
        for unit_test in manifest["unit_tests"].values():
            if unit_test["model"] == mart["name"]:
                expected |= columns_expected(unit_test)
        missing += [f"{mart['name']}.{name}" for name in metrics_of(mart) - expected]
    assert missing == []


def columns_expected(unit_test: Node) -> set[str]:
    rows = unit_test["expect"]["rows"]
    if isinstance(rows, str):  # format: sql
        return set(re.findall(r"\bas (\w+)", rows))
    return {name for row in rows for name in row}


def test_every_mart_has_a_reader(manifest: Node) -> None:
    read = {
        unique_id
        for exposure in manifest["exposures"].values()
        for unique_id in exposure["depends_on"]["nodes"]
    }
    assert {mart["unique_id"] for mart in marts_of(manifest)} <= read


def test_every_model_and_column_is_described_as_it_is_in_the_database(
    manifest: Node, built: Project
) -> None:
    columns: dict[str, set[str]] = {}
    for table, column in built.query(
        "select schema_name || '.' || table_name, column_name from duckdb_columns() "
        "where not internal"
    ):
        columns.setdefault(table, set()).add(column)
    for model in models_of(manifest):
        described = {
            name for name, column in model["columns"].items() if column["description"].strip()
        }
        assert model["description"].strip(), model["name"]
        assert described == columns[f"{model['schema']}.{model['name']}"], model["name"]
    for source in manifest["sources"].values():
        assert source["description"].strip(), source["name"]
        assert all(column["description"].strip() for column in source["columns"].values())


def test_nothing_reads_from_its_right_neighbour(manifest: Node) -> None:
    nodes = manifest["nodes"] | manifest["sources"]
    for model in models_of(manifest):
        for unique_id in model["depends_on"]["nodes"]:
            read = nodes[unique_id]
            assert room(read) in MAY_READ[room(model)], f"{model['name']} reads {read['name']}"


def test_the_publication_reads_every_mart(manifest: Node) -> None:
    (publication,) = [node for node in models_of(manifest) if room(node) == "publication"]
    assert sorted(publication["depends_on"]["nodes"]) == sorted(
        mart["unique_id"] for mart in marts_of(manifest)
    )


def test_the_expectations_see_every_mart_and_the_accepted_rows_of_every_feed(
    manifest: Node,
) -> None:
    (results,) = [node for node in models_of(manifest) if node["language"] == "python"]
    marts = {mart["unique_id"] for mart in marts_of(manifest)} - {results["unique_id"]}
    feeds = {f"model.kpi_warehouse.stg_{node['name']}" for node in manifest["sources"].values()}
    assert set(results["depends_on"]["nodes"]) == marts | feeds


def test_every_mart_says_who_may_read_it_over_http(manifest: Node) -> None:
    for mart in marts_of(manifest):
        api = mart["config"]["meta"].get("api")
        assert list(faults_of_api(api, mart["columns"])) == [], mart["name"]
        area = mart["fqn"][-2]
        assert api["scope"] == area, mart["name"]
        assert set(api["example"]) == set(mart["columns"]), mart["name"]


def test_lineage_reaches_from_each_feed_to_a_reader_and_back(manifest: Node) -> None:
    parents = manifest["parent_map"]

    def ancestors(unique_id: str) -> Iterator[str]:
        for parent in parents.get(unique_id, []):
            yield parent
            yield from ancestors(parent)

    feeds = set(manifest["sources"])
    reached: set[str] = set()
    for exposure in manifest["exposures"]:
        found = feeds & set(ancestors(exposure))
        assert found, exposure
        reached |= found
    assert reached == feeds
    assert len(feeds) == 11


def test_a_base_model_reads_the_contract_and_the_seed_of_its_feed(manifest: Node) -> None:
    for model in models_of(manifest):
        if room(model) == "base" and not model["name"].endswith("_repeats"):
            feed = model["name"].removeprefix("base_")
            assert sorted(model["depends_on"]["nodes"]) == [
                f"seed.kpi_warehouse.{feed}",
                f"source.kpi_warehouse.landing.{feed}",
            ]


# What one engine or another refuses, or understands in its own way (docs/decisions.md).
NOT_PORTABLE = {
    "::": r"::",
    "qualify": r"\bqualify\b",
    "group by all": r"\bgroup by all\b",
    "order by all": r"\border by all\b",
    "distinct on": r"\bdistinct on\b",
    "exclude": r"\bexclude\b",
    "pivot": r"\b(un)?pivot\b",
    "regexp_*": r"\bregexp_",
    "concat()": r"\bconcat\(",
    "quoted identifiers": r'"\w+"(?![^{]*\}\})',
    "dow": r"\bdow\b",
    "median": r"\b(median|percentile_cont)\b",
    "list functions": r"\b(unnest|list_\w+|len)\(",
}


@pytest.mark.parametrize("construct", NOT_PORTABLE)
def test_models_keep_to_sql_that_means_the_same_on_every_engine(construct: str) -> None:
    for path in sorted((ROOT / "models").rglob("*.sql")):
        code = re.sub(r"--.*", "", path.read_text())
        assert not re.search(NOT_PORTABLE[construct], code), path.relative_to(ROOT)


def test_unit_tests_of_base_models_use_the_contract_as_it_is_written(manifest: Node) -> None:
    """Inside a unit test dbt knows no sources, so those tests carry the contract along."""
    compared = 0
    for unit_test in manifest["unit_tests"].values():
        macros = (unit_test["overrides"] or {}).get("macros", {})
        used = macros.get("feed_contract")
        if not unit_test["model"].startswith("base_"):
            continue
        feed = unit_test["model"].removeprefix("base_").removesuffix("_repeats")
        source = manifest["sources"][f"source.kpi_warehouse.landing.{used['feed']}"]
        assert feed == used["feed"]
        assert used["key"] == source["config"]["meta"]["feed"].get("key", []), unit_test["name"]
        assert [column["name"] for column in used["columns"]] == list(source["columns"])
        for column in used["columns"]:
            written = source["columns"][column["name"]]
            meta = written["config"]["meta"]
            place = f"{unit_test['name']}: {column['name']}"
            assert type_text(column["type"]) == written["data_type"].replace(" ", ""), place
            assert column["required"] == meta.get("required", False), place
            for key in ("minimum", "exclusive_minimum", "maximum"):
                assert column[key] == meta.get(key), place
            assert column["is_id"] == is_id(written, source), place
            assert column["accepted_values"] == meta.get("accepted_values", []), place
        compared += 1
    assert compared > 10


def is_id(column: Node, source: Node) -> bool:
    """Whether the values of a column name things: a key, a reference, or said to be an id."""
    meta = column["config"]["meta"]
    names_things = (
        meta.get("id")
        or "references" in meta
        or column["name"] in source["config"]["meta"]["feed"].get("key", [])
    )
    return bool(names_things) and column["data_type"] in ("text", "integer", "bigint")


def test_every_column_that_is_called_an_id_is_one(manifest: Node) -> None:
    """So that what a spreadsheet made of an id is never taken for one."""
    named = 0
    for source in manifest["sources"].values():
        if source["source_name"] != "landing":
            continue
        for column in source["columns"].values():
            if re.search(r"(^|_)id(_|$)", column["name"]):
                assert is_id(column, source), f"{source['name']}: {column['name']}"
                named += 1
    assert named > 15


def type_text(contract_type: Node) -> str:
    if contract_type["name"] == "decimal":
        return f"decimal({contract_type['precision']},{contract_type['scale']})"
    return str(contract_type["name"])


def test_no_database_may_have_the_name_of_a_schema(manifest: Node, built: Project) -> None:
    declared = {node["schema"] for node in manifest["nodes"].values()}
    found = set(built.column("select schema_name from duckdb_schemas()"))
    assert {name.lower() for name in declared | found} - {"dbt_test__audit"} <= set(NOT_A_DATABASE)
