"""What a person mistyped is named, with the nearest of what there is."""

from __future__ import annotations

from typing import Any

import pytest

from warehouse.typos import names_to_select, nearest, unknown_variables


def node(path: str, code: str = "") -> dict[str, Any]:
    *folders, file = path.split("/")
    name = file.partition(".")[0]
    fqn = ["p", *folders[1:], name]
    return {
        "name": name, "fqn": fqn, "original_file_path": path, "config": {"tags": [folders[-1]]},
        "raw_code": code,
    }  # fmt: skip


MANIFEST: dict[str, Any] = {
    "nodes": {"a": node("models/marts/shop/daily_sales.sql", "select {{ var( 'one_more', 1 ) }}")},
    "unit_tests": {},
    "exposures": {},
    "sources": {"s": {"source_name": "landing", "name": "orders"}},
    "macros": {"m": {"macro_sql": '{{ var("accept_drift") }}'}},
}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("daily_sles", "daily_sales"),
        ("tag:shp", "tag:shop"),
        ("source:landing.ordrs", "source:landing.orders"),
        ("path:models/mart/shop", "path:models/marts/shop"),
        ("p.marts.shop.dailysales", "p.marts.shop.daily_sales"),
        ("daily_sale.sql", "daily_sales.sql"),
    ],
)
def test_the_nearest_of_what_may_be_selected_is_named(typed: str, meant: str) -> None:
    names = names_to_select(MANIFEST)
    assert meant in names
    assert nearest(typed, names) == f"; did you mean {meant}?"


def test_nothing_is_guessed_where_nothing_is_near() -> None:
    assert nearest("zzzzzz", names_to_select(MANIFEST)) == ""


def test_variables_are_known_when_they_are_declared_or_read() -> None:
    declared = ["revenue_per_conversion"]
    known = ["revenue_per_conversion", "one_more", "accept_drift", "p"]
    assert unknown_variables(known, declared, MANIFEST, "p") is None
    assert unknown_variables([*known, "accept_drfit", "x"], declared, MANIFEST, "p") == (
        "--vars: nothing reads accept_drfit; did you mean accept_drift?; --vars: nothing reads x"
    )
