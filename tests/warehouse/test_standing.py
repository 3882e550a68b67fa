"""What a log comes to: which snapshots may be seen, whatever was withdrawn and pruned."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from warehouse.published import PRUNE, PUBLISH, ROLLBACK, Entry, standing

AT = datetime(2026, 1, 1, tzinfo=UTC)


def log(*lines: str) -> list[Entry]:
    """Entries from `+a` (publish a), `<a` (roll back to a) and `-a` (prune a)."""
    actions = {"+": PUBLISH, "<": ROLLBACK, "-": PRUNE}
    return [Entry(line[1:], AT, actions[line[0]]) for line in lines]


@pytest.mark.parametrize(
    ("lines", "servable", "withdrawn"),
    [
        ((), (), ()),
        (("+a", "+b", "+c"), ("c", "b", "a"), ()),
        (("+a", "+b", "<a"), ("a",), ("b",)),
        (("+a", "+b", "<a", "+c"), ("c", "a"), ("b",)),
        (("+a", "+b", "<a", "+c", "<b"), ("b", "a"), ("c",)),
        (("+a", "+b", "+c", "<a", "<c"), ("c", "a"), ("b",)),
        (("+a", "+b", "-a"), ("b",), ()),
        (("+a", "+b", "<a", "-b"), ("a",), ()),
        (("+a", "+b", "<a", "+c", "-a"), ("c",), ("b",)),
    ],
)
def test_what_was_withdrawn_or_pruned_is_not_seen(
    lines: tuple[str, ...], servable: tuple[str, ...], withdrawn: tuple[str, ...]
) -> None:
    found = standing(log(*lines))
    assert (found.servable, found.withdrawn) == (servable, frozenset(withdrawn))


def test_what_was_seen_before_a_version_is_not_what_was_withdrawn() -> None:
    found = standing(log("+a", "+b", "<a", "+c", "-a"))
    assert [found.before(version) for version in "cabx"] == ["a", None, None, None]


def stands(version: str, lines: list[str]) -> bool:
    """Whether the last word about a version lets it be seen, by the rules as a person says them."""
    published = [line[1:] for line in lines if line[0] == "+"]
    verdict = False
    for line in lines:
        kind, other = line[0], line[1:]
        if other == version:
            verdict = kind != "-"
        elif kind == "<" and published.index(other) < published.index(version):
            verdict = False
    return verdict


@pytest.mark.parametrize("seed", range(300))
def test_any_log_comes_to_what_its_last_words_say(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    lines: list[str] = []
    for number in range(chance.randint(1, 25)):
        there = [line[1:] for line in lines if line[0] == "+" and f"-{line[1:]}" not in lines]
        kind = chance.choice("+++<<-") if there else "+"
        now = standing(log(*lines)).servable[:1]
        if kind == "-":
            lines += [f"-{chosen}" for chosen in [chance.choice(there)] if chosen not in now]
        else:
            lines.append(f"+{number}" if kind == "+" else f"<{chance.choice(there)}")
        published = [line[1:] for line in lines if line[0] == "+"]
        found = standing(log(*lines))
        expected = [version for version in published if stands(version, lines)]
        assert found.servable == tuple(reversed(expected)), lines
        gone = {line[1:] for line in lines if line[0] == "-"}
        assert found.withdrawn == set(published) - set(expected) - gone
        last = next(line[1:] for line in reversed(lines) if line[0] != "-")
        assert found.servable[0] == last  # what was named last is what is seen
