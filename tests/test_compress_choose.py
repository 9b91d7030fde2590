"""The choice of one option a layer against brute force and SciPy's integer programming."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from rankconv.compress.choose import choose, front
from rankconv.compress.records import Option


def option(layer, seconds, damage, number=0):
    return Option(layer, "spatial_svd", number + 1, seconds, 0.1, damage, 100, 100)


numbers = st.integers(0, 12).map(float) | st.integers(0, 10**6).map(lambda n: n * 1e-5)
TABLES = st.lists(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5), min_size=1, max_size=5
)


def table_of(drawn):
    return [
        option(f"layer{i}", seconds, damage, k)
        for i, group in enumerate(drawn)
        for k, (seconds, damage) in enumerate(group)
    ]


def total(choice, name):
    return sum(getattr(one, name) for one in choice.values())


def every(drawn):
    """(seconds, damage) of all choices."""
    for picked in itertools.product(*drawn):
        yield sum(p[0] for p in picked), sum(p[1] for p in picked)


@settings(max_examples=200, deadline=None)
@given(TABLES, st.floats(0, 1))
def test_no_choice_is_better(drawn, share):
    table, all_of_them = table_of(drawn), list(every(drawn))
    for budget, kept, least in (("seconds", 0, 1), ("damage", 1, 0)):
        values = [one[kept] for one in all_of_them]
        limit = min(values) + share * (max(values) - min(values))
        best = min(one[least] for one in all_of_them if one[kept] <= limit)
        found = choose(table, **{budget: limit})
        assert set(found) == {f"layer{i}" for i in range(len(drawn))}
        assert total(found, budget) <= limit + 1e-9
        other = "damage" if budget == "seconds" else "seconds"
        assert total(found, other) == pytest.approx(best, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(TABLES)
def test_the_front_is_the_lower_hull_of_all_choices(drawn):
    stops = [(total(c, "seconds"), total(c, "damage")) for c in front(table_of(drawn))]
    points = list(every(drawn))
    least = min(points, key=lambda p: (p[1], p[0]))
    assert stops[0] == pytest.approx(least, abs=1e-9)
    assert stops[-1][0] == pytest.approx(min(p[0] for p in points), abs=1e-9)
    assert all(a[0] > b[0] and a[1] <= b[1] for a, b in itertools.pairwise(stops))
    # At the price of each step nothing lies below the line through its two ends.
    for (s0, d0), (s1, d1) in itertools.pairwise(stops):
        price = (d1 - d0) / (s0 - s1)
        line = d0 + price * s0
        assert all(d + price * s >= line - 1e-6 * (1 + line) for s, d in points)


def test_sixty_layers_as_integer_programming_solves_them():
    rng = np.random.default_rng(3)
    table = []
    for i in range(60):
        dense = rng.uniform(1, 3)
        table.append(option(f"l{i}", dense, 0.0))
        for k in range(12):
            share = rng.uniform(0.2, 1.1)
            table.append(option(f"l{i}", dense * share, rng.exponential(1 / share**2) * 0.1, k + 1))
    limit = 0.5 * sum(o.seconds for o in table if o.damage == 0)
    layers = sorted({o.layer for o in table})
    one_each = np.array([[float(o.layer == layer) for o in table] for layer in layers])
    found = milp(
        [o.damage for o in table],
        integrality=np.ones(len(table)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint([[o.seconds for o in table]], -math.inf, limit),
        ],
        options={"mip_rel_gap": 1e-9},
    )
    choice = choose(table, seconds=limit)
    assert total(choice, "seconds") <= limit * (1 + 1e-9)
    assert total(choice, "damage") == pytest.approx(found.fun, rel=1e-6)


def test_of_equals_the_one_with_fewer_operations():
    twins = [Option("a", "cp", r, 1.0, 0.1, 2.0, 100 - r, 5) for r in (1, 7, 3)]
    assert choose(twins, seconds=1.0)["a"].rank == 7


def test_bad_budgets_and_tables():
    table = [option("a", 2.0, 1.0), option("a", 1.0, 4.0)]
    with pytest.raises(ValueError, match="exactly one budget"):
        choose(table)
    with pytest.raises(ValueError, match="exactly one budget"):
        choose(table, seconds=1, damage=1)
    with pytest.raises(ValueError, match=r"seconds=0\.5 is below 1, the least"):
        choose(table, seconds=0.5)
    with pytest.raises(ValueError, match=r"damage=0\.5 is below 1, the least"):
        choose(table, damage=0.5)
    with pytest.raises(ValueError, match="below"):
        choose(table, seconds=math.nan)
    with pytest.raises(ValueError, match="options is empty"):
        choose([], seconds=1)
    with pytest.raises(ValueError, match="no finite seconds"):
        next(front([option("a", math.nan, 0.0)]))
