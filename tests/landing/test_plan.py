"""Which files are loaded and which rows go: the decision alone."""

from __future__ import annotations

import pytest

from warehouse.landing.plan import DUPLICATE, LOADED, REFUSED, Known, Present, decide

OLD, NEW, NEWEST = 1_000, 2_000, 3_000
SEED = "seeds/shop/orders.csv"


def known(file: str, content: str | None, *, state: str = LOADED, number: int = 1) -> Known:
    return Known(number, file, state, None if state == LOADED else "why", 10, OLD, content)


def test_a_new_file_is_loaded() -> None:
    plan = decide([], [Present("a", NEW, "1")], {})
    assert (plan.load, plan.remove, plan.refuse) == (["a"], [], {})


def test_a_file_that_did_not_change_is_left_alone() -> None:
    plan = decide([known("a", "1")], [Present("a", OLD, "1")], {})
    assert (plan.load, plan.remove, plan.refuse) == ([], [], {})


def test_a_touched_file_is_left_alone() -> None:
    plan = decide([known("a", "1")], [Present("a", NEWEST, "1")], {})
    assert (plan.load, plan.remove, plan.refuse) == ([], [], {})


def test_a_replaced_file_is_loaded_and_only_its_old_rows_go() -> None:
    mine, other = known("a", "1"), known("b", "2", number=2)
    plan = decide([mine, other], [Present("a", NEW, "3"), Present("b", OLD, "2")], {})
    assert (plan.load, plan.remove, plan.refuse) == (["a"], [mine], {})


def test_a_file_that_vanished_keeps_its_rows() -> None:
    plan = decide([known("a", "1")], [], {})
    assert (plan.load, plan.remove, plan.refuse) == ([], [], {})


def test_of_equal_files_the_oldest_is_loaded_whatever_its_name() -> None:
    plan = decide([], [Present("a", NEW, "1"), Present("b", OLD, "1")], {})
    assert plan.load == ["b"]
    assert plan.refuse == {"a": (DUPLICATE, "has the same content as b")}


def test_of_equal_files_of_one_time_the_first_name_is_loaded() -> None:
    plan = decide([], [Present("b", OLD, "1"), Present("a", OLD, "1")], {})
    assert plan.load == ["a"]
    assert set(plan.refuse) == {"b"}


def test_an_older_copy_takes_the_place_of_a_loaded_file_as_a_full_refresh_would() -> None:
    loaded = known("a", "1")
    plan = decide([loaded], [Present("a", NEW, "1"), Present("b", OLD, "1")], {})
    assert (plan.load, plan.remove) == (["b"], [loaded])
    assert plan.refuse == {"a": (DUPLICATE, "has the same content as b")}


def test_a_file_with_the_content_of_one_that_vanished_is_that_file_renamed() -> None:
    entry = known("a", "1")
    plan = decide([entry], [Present("b", 1, "1")], {})
    assert (plan.load, plan.remove, plan.refuse) == ([], [], {})
    assert plan.rename == {"b": entry}


def test_only_one_of_two_copies_of_a_file_that_vanished_is_that_file() -> None:
    entry = known("a", "1")
    plan = decide([entry], [Present("b", NEW, "1"), Present("c", OLD, "1")], {})
    assert (plan.load, plan.rename) == ([], {"c": entry})
    assert plan.refuse == {"b": (DUPLICATE, "has the same content as c")}


def test_a_file_renamed_over_another_takes_the_place_of_its_rows() -> None:
    moved, covered = known("a", "1"), known("b", "2", number=2)
    plan = decide([moved, covered], [Present("b", OLD, "1")], {})
    assert (plan.load, plan.rename, plan.remove) == ([], {"b": moved}, [covered])


def test_a_copy_is_loaded_once_the_other_has_new_content() -> None:
    entries = [known("a", "1"), known("b", "1", state=DUPLICATE, number=2)]
    plan = decide(entries, [Present("a", NEWEST, "2"), Present("b", NEW, "1")], {})
    assert plan.load == ["b", "a"]
    assert plan.remove == [entries[0]]
    assert plan.refuse == {}


def test_two_files_that_change_their_content_with_each_other_are_both_loaded() -> None:
    entries = [known("a", "1"), known("b", "2", number=2)]
    plan = decide(entries, [Present("a", NEW, "2"), Present("b", NEWEST, "1")], {})
    assert plan.load == ["a", "b"]
    assert plan.remove == entries


def test_a_file_that_cannot_be_read_loses_its_old_rows() -> None:
    loaded = known("a", "1")
    plan = decide([loaded], [Present("a", NEW, None, "is empty")], {})
    assert (plan.load, plan.remove) == ([], [loaded])
    assert plan.refuse == {"a": (REFUSED, "is empty")}


def test_a_file_that_can_be_read_now_is_loaded() -> None:
    plan = decide([known("a", None, state=REFUSED)], [Present("a", NEW, "1")], {})
    assert (plan.load, plan.remove, plan.refuse) == (["a"], [], {})


def test_files_are_loaded_from_the_oldest_to_the_newest() -> None:
    files = [Present("a", NEWEST, "1"), Present("c", OLD, "2"), Present("b", OLD, "3")]
    assert decide([], files, {}).load == ["b", "c", "a"]


def test_a_copy_of_the_sample_is_refused() -> None:
    plan = decide([], [Present(SEED, None, "rows"), Present("a", OLD, "bytes")], {"bytes": SEED})
    assert plan.load == [SEED]
    assert plan.refuse == {"a": (DUPLICATE, f"has the same content as {SEED}")}


@pytest.mark.parametrize("state", [REFUSED, DUPLICATE])
def test_what_was_never_loaded_is_no_content_that_counts(state: str) -> None:
    plan = decide([known("a", "1", state=state)], [Present("b", NEW, "1")], {})
    assert plan.load == ["b"]
