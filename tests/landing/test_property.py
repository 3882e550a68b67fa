"""Whatever is dropped, replaced, touched, copied or renamed, and however often it is built between:

the database holds what a full refresh on the same folder would hold.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.landing.loading import Compiled, Loading
from tests.support import ALONE, Project

EPOCH_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
NAMES = ("a.csv", "b.csv", "c.csv.gz", "d.csv")

# Contents share keys; some need a careful reader, some cannot be loaded at all.
PRODUCTS = (
    "product_id,name,category,price,inventory_count\nP1,Mug,Kitchen,9.90,3\nP2,Cup,Kitchen,5,\n",
    "product_id,name,category,price,inventory_count\nP2,Cup two,Kitchen,6,1\nP3,Pan,Kitchen,7,\n",
    "id;name;category;price\nP1;Mug three;Kitchen;1.5\nP1;Mug four;Kitchen;1.50\nP4;;Kitchen;2\n",
    'product_id,name,category,price,inventory_count\n\nP2,"Cup\nand more",Kitchen,8,2\nP5,x\n',
    'product_id,name,category,price,inventory_count\nP1,"never closed,Kitchen,8,2\nP3,Pot,K,8,2\n',
    "product_id,name,category,price,inventory_count\n",
    "nothing,of,this\n1,2,3\n",
    "",
)
ORDER_ITEMS = (
    "order_id,product_id,quantity,ordered_at\nO1,P1,1,2024-01-01\nO1,P2,2,\n",
    "order_id,product_id,quantity,ordered_at\nO1,P1,1,2024-01-01\nO2,P2,2,2024-02-01 10:00:00\n",
    "id\tproduct_id\tquantity\nO3\tP1\tx\nO3\tP1\t0\n",
    "order_id,product_id,quantity,ordered_at\nO4,P1\nO4,P2,2,,\nO5,P3,3,\n",
    "order_id,product_id,quantity,ordered_at\rO6,P1,1,\rO7,P1,1,\r",
    "wrong,header\n1,2\n",
)


class Folder:
    """A feed's folder whose files have times of their own, none twice."""

    def __init__(self, path: Path, contents: Sequence[str]) -> None:
        self.path = path
        self.contents = contents
        self._clock = EPOCH_NS
        path.mkdir(parents=True)

    def names(self) -> list[str]:
        """The names of the files."""
        return sorted(file.name for file in self.path.iterdir())

    def stamp(self, name: str, *, back: int = 0) -> None:
        """Give a file the next time, or one that is so many seconds and a half before it."""
        self._clock += SECOND_NS
        time = self._clock - (back * SECOND_NS + SECOND_NS // 2 if back else 0)
        os.utime(self.path / name, ns=(time, time))

    def write(self, name: str, number: int, *, back: int = 0) -> None:
        """Write one of the contents, as a new file or in place of an old one."""
        data = self.contents[number % len(self.contents)].encode()
        if name.endswith(".gz") and data:
            data = gzip.compress(data, mtime=self._clock // SECOND_NS)
        (self.path / name).write_bytes(data)
        self.stamp(name, back=back)


@dataclass(frozen=True)
class Step:
    """One thing a person does: see `take`."""

    action: str
    name: str = ""
    other: str = ""
    number: int = 0
    age: int = 0


def take(step: Step, folder: Folder, loading: Loading | Built) -> None:
    """Do a step; one that cannot be done in this folder does nothing."""
    there = folder.names()
    match step.action:
        case "write":
            folder.write(step.name, step.number, back=step.age)
        case "touch" if step.name in there:
            folder.stamp(step.name, back=step.age)
        case "copy" if step.name in there and step.name != step.other:
            shutil.copyfile(folder.path / step.name, folder.path / step.other)
            folder.stamp(step.other, back=step.age)
        case "swap" if {step.name, step.other} <= set(there) and step.name != step.other:
            (folder.path / step.name).rename(folder.path / ".between")  # times go with the files
            (folder.path / step.other).rename(folder.path / step.name)
            (folder.path / ".between").rename(folder.path / step.other)
        case "rename" if step.name in there and step.other not in there:
            if step.name.endswith(".gz") == step.other.endswith(".gz"):
                (folder.path / step.name).rename(folder.path / step.other)
        case "remove what is not loaded":
            loading.load()
            if loading.states().get(step.name) in ("refused", "duplicate"):
                (folder.path / step.name).unlink()
        case "build":
            loading.load()


names = st.sampled_from(NAMES)
numbers = st.integers(0, len(PRODUCTS) - 1)
ages = st.integers(0, 5)
steps = st.lists(
    st.one_of(
        st.builds(Step, st.just("write"), names, number=numbers, age=ages),
        st.builds(Step, st.just("touch"), names, age=ages),
        st.builds(Step, st.sampled_from(["copy", "swap", "rename"]), names, names, age=ages),
        st.builds(Step, st.just("remove what is not loaded"), names),
        st.builds(Step, st.just("build")),
    ),
    min_size=2,
    max_size=12,
)


def equals_a_full_refresh(
    feed: Compiled, contents: Sequence[str], place: Path, sequence: Sequence[Step]
) -> None:
    shutil.rmtree(place, ignore_errors=True)
    folder = Folder(place / feed.contract.feed, contents)
    loading, fresh = Loading(feed, folder.path), Loading(feed, folder.path)
    try:
        for step in sequence:
            take(step, folder, loading)
        loading.load()
        fresh.load(is_full_refresh=True)
        assert loading.rows() == fresh.rows()
        assert loading.repeats() == fresh.repeats()
        assert loading.states() == fresh.states()
        before = loading.rows("*")
        loading.load()
        assert loading.rows("*") == before, "a build with nothing new changed something"
    finally:
        loading.close()
        fresh.close()


unhurried = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@unhurried
@given(sequence=steps)
def test_a_keyed_feed_equals_a_full_refresh_after_any_sequence(
    compiled: dict[str, Compiled], tmp_path: Path, sequence: list[Step]
) -> None:
    equals_a_full_refresh(compiled["products"], PRODUCTS, tmp_path / "zone", sequence)


@unhurried
@given(sequence=steps)
def test_a_feed_without_a_key_equals_a_full_refresh_after_any_sequence(
    compiled: dict[str, Compiled], tmp_path: Path, sequence: list[Step]
) -> None:
    equals_a_full_refresh(compiled["order_items"], ORDER_ITEMS, tmp_path / "zone", sequence)


deletions = st.lists(
    st.one_of(
        st.builds(Step, st.just("write"), names, number=st.integers(0, 3)),
        st.builds(Step, st.just("delete"), names),
        st.builds(Step, st.just("rename"), names, names),
        st.builds(Step, st.just("build")),
    ),
    min_size=3,
    max_size=12,
)


@settings(unhurried, max_examples=60)
@given(sequence=deletions)
def test_rows_of_files_that_vanished_stay_and_no_content_is_loaded_twice(
    compiled: dict[str, Compiled], tmp_path: Path, sequence: list[Step]
) -> None:
    place = tmp_path / "zone"
    shutil.rmtree(place, ignore_errors=True)
    contents = tuple(
        f"order_id,product_id,quantity,ordered_at\nO{number},P1,{number + 1},\n"
        for number in range(4)
    )
    folder = Folder(place / "order_items", contents)
    loading = Loading(compiled["order_items"], folder.path)
    there: dict[str, int] = {}  # the files, oldest first, and which content each has
    loaded: dict[str, int] = {}  # the files whose rows count

    def build() -> None:
        loading.load()
        vanished = {name: number for name, number in loaded.items() if name not in there}
        loaded.clear()
        for name, number in there.items():
            if number not in loaded.values():
                loaded[name] = number
        # A file of the content of one that vanished is that file, renamed.
        loaded.update(
            {name: number for name, number in vanished.items() if number not in loaded.values()}
        )
        assert {
            (Path(name).name, int(order[1:])) for name, order in loading.rows("_file, order_id")
        } == set(loaded.items())

    try:
        for step in sequence:
            if step.action == "write":
                folder.write(step.name, step.number)
                there.pop(step.name, None)
                there[step.name] = step.number
            elif step.action == "delete" and step.name in there:
                (folder.path / step.name).unlink()
                del there[step.name]
            elif (
                step.action == "rename"
                and step.name in there
                and not any(name.endswith(".gz") for name in (step.name, step.other))
                and step.name != step.other
            ):
                (folder.path / step.name).rename(folder.path / step.other)
                number = there.pop(step.name)
                there.pop(step.other, None)
                there[step.other] = number
                folder.stamp(step.other)
            elif step.action == "build":
                build()
        build()
        loading.load(is_full_refresh=True)
        assert {int(order[1:]) for (order,) in loading.rows("order_id")} == set(there.values())
    finally:
        loading.close()


class Built:
    """Real dbt in place of the loader, for `take`."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def load(self, *arguments: str) -> None:
        """Build products, without the sample."""
        outcome = self.project.dbt(
            *("build", *arguments, "--select", "products", "base_products"),
            "base_products_repeats",
            **ALONE,
            WAREHOUSE_SAMPLE_DATA="0",
        )
        assert outcome.exit_code == 0, outcome.lines

    def states(self) -> dict[str, str]:
        """Each file that is there, and what became of it."""
        return dict(
            self.project.query(
                "select parse_filename(file), state from landing.products_files where is_present"
            )
        )

    def rows(self) -> list[list[tuple[object, ...]]]:
        """Base and repeats."""
        return [
            self.project.query(
                f"select {columns} from staging.{table} order by _file, _line_number"
            )
            for table, columns in (
                ("base_products", "* exclude (_loaded_at)"),
                ("base_products_repeats", "*"),
            )
        ]


@pytest.mark.parametrize(
    "sequence",
    [
        (
            Step("write", "a.csv", number=0),
            Step("write", "b.csv", number=1),
            Step("build"),
            Step("write", "b.csv", number=4),
            Step("copy", "a.csv", "d.csv"),
            Step("touch", "a.csv"),
        ),
        (
            Step("write", "a.csv", number=2),
            Step("write", "c.csv.gz", number=3),
            Step("write", "d.csv", number=6),
            Step("build"),
            Step("swap", "a.csv", "d.csv"),
            Step("write", "b.csv", number=1, age=3),
            Step("build"),
            Step("write", "d.csv", number=0),
        ),
    ],
    ids=["replaced, copied and touched", "swapped and dropped with an old time"],
)
def test_a_sequence_through_dbt_equals_a_full_refresh(
    project: Project, sequence: Sequence[Step]
) -> None:
    folder = Folder(project.folder / "landing" / "products", PRODUCTS)
    built = Built(project)
    for step in sequence:
        take(step, folder, built)
    built.load()
    rows, states = built.rows(), built.states()
    assert rows[0]
    built.load("--full-refresh")
    assert (built.rows(), built.states()) == (rows, states)
