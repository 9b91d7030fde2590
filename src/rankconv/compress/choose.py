"""One option for every layer, within one budget: the multiple-choice knapsack problem.

Both are sums over the layers, so each layer only ever needs the options that no other of its own
beats on both. `front` walks down the lower convex hulls of all layers at once, steepest step
first: every stop is the best of all choices at its own price (the Lagrangian solutions, which
leave gaps). `choose` fills the gaps: partial choices layer by layer, those that another beats or
that the hulls prove hopeless thrown away.

Source: Pisinger (1995, European Journal of Operational Research 83, 394-410) for the hulls and
the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.records import Option

Array = NDArray[Any]
MOST_STATES = 20_000  # beyond these, states nearer than a part in as many are taken for equal


class _Hull(NamedTuple):
    """A layer's options on its lower convex hull, from the least damage to the least seconds."""

    layer: str
    options: tuple[Option, ...]


class _Step(NamedTuple):
    """From one option of a hull to the next: seconds saved and damage added."""

    saved: float
    added: float
    layer: int
    to: Option


def choose(
    options: Iterable[Option], *, seconds: float | None = None, damage: float | None = None
) -> dict[str, Option]:
    """The option for every layer with the least damage in `seconds`, or the reverse.

    Exact: no other choice keeps the budget and is better by more than a part in 20,000 of it
    (and none at all unless the tables are large and full of near ties). One of two equally good
    options is the one with fewer multiply-adds.

    Raises ValueError unless exactly one budget is given, for no options or numbers that are not
    finite, and where even the least of all choices is above the budget.
    Equivalent: `scipy.optimize.milp` with one binary variable for each option.

    >>> def options(layer, damage):
    ...     yield Option(layer, "dense", None, 2.0, 0.0, 0.0, 9, 9)
    ...     yield Option(layer, "cp", 1, 1.0, 0.1, damage, 4, 4)
    >>> table = [*options("a", 3.0), *options("b", 2.0)]
    >>> {name: option.kind for name, option in choose(table, seconds=3.0).items()}
    {'a': 'dense', 'b': 'cp'}
    """
    if (seconds is None) == (damage is None):
        raise ValueError(
            f"seconds={seconds!r} and damage={damage!r}: pass exactly one budget, the other is "
            "what is minimised"
        )
    groups = _groups(options)
    if seconds is not None:
        return _solve(groups, seconds, swapped=False)
    assert damage is not None
    return _solve(groups, damage, swapped=True)


def front(options: Iterable[Option]) -> Iterator[dict[str, Option]]:
    """Choices from the least damage to the least seconds, each the best at its own price.

    Raises ValueError for no options, or numbers that are not finite.

    >>> def options(layer, damage):
    ...     yield Option(layer, "dense", None, 2.0, 0.0, 0.0, 9, 9)
    ...     yield Option(layer, "cp", 1, 1.0, 0.1, damage, 4, 4)
    >>> table = [*options("a", 3.0), *options("b", 2.0)]
    >>> [[option.kind for option in stop.values()] for stop in front(table)]
    [['dense', 'dense'], ['dense', 'cp'], ['cp', 'cp']]
    """
    hulls = [
        _Hull(layer, tuple(_hull(_undominated(group, swapped=False), swapped=False)))
        for layer, group in _groups(options).items()
    ]
    current = {hull.layer: hull.options[0] for hull in hulls}
    yield dict(current)
    for step in _steps(hulls):
        current[hulls[step.layer].layer] = step.to
        yield dict(current)


def _groups(options: Iterable[Option]) -> dict[str, list[Option]]:
    groups: dict[str, list[Option]] = {}
    for option in options:
        if not (0 <= option.seconds < math.inf and -math.inf < option.damage < math.inf):
            raise ValueError(f"{option} has no finite seconds >= 0 and finite damage: leave it out")
        groups.setdefault(option.layer, []).append(option)
    if not groups:
        raise ValueError("options is empty: pass at least one a layer")
    return groups


def _price(option: Option, swapped: bool) -> float:
    """What the budget limits."""
    return option.damage if swapped else option.seconds


def _loss(option: Option, swapped: bool) -> float:
    """What is minimised."""
    return option.seconds if swapped else option.damage


def _undominated(group: list[Option], *, swapped: bool) -> list[Option]:
    """The options that no other beats, from the least loss to the least price."""
    kept: list[Option] = []
    for option in sorted(
        group, key=lambda o: (_loss(o, swapped), _price(o, swapped), o.multiply_adds)
    ):
        if not kept or _price(option, swapped) < _price(kept[-1], swapped):
            kept.append(option)
    return kept


def _hull(options: list[Option], *, swapped: bool) -> list[Option]:
    """Those of undominated options on the lower convex hull."""
    hull: list[Option] = []
    for option in options:
        while len(hull) >= 2 and _above(hull[-2], hull[-1], option, swapped):
            hull.pop()
        hull.append(option)
    return hull


def _above(a: Option, b: Option, c: Option, swapped: bool) -> bool:
    """Whether b lies on or above the line from a to c."""
    left = (_loss(b, swapped) - _loss(a, swapped)) * (_price(a, swapped) - _price(c, swapped))
    right = (_loss(c, swapped) - _loss(a, swapped)) * (_price(a, swapped) - _price(b, swapped))
    return left >= right


def _steps(hulls: list[_Hull], *, swapped: bool = False) -> list[_Step]:
    """All steps down the hulls, the most price saved for a unit of loss first.

    Hulls are convex, so the steps of one layer stay in their order.
    """
    steps = [
        _Step(_price(a, swapped) - _price(b, swapped), _loss(b, swapped) - _loss(a, swapped), i, b)
        for i, hull in enumerate(hulls)
        for a, b in zip(hull.options, hull.options[1:], strict=False)
    ]
    return sorted(steps, key=lambda s: s.added / s.saved)


def _solve(groups: dict[str, list[Option]], budget: float, *, swapped: bool) -> dict[str, Option]:
    layers = list(groups)
    tables = [_undominated(groups[layer], swapped=swapped) for layer in layers]
    hulls = [
        _Hull(layer, tuple(_hull(table, swapped=swapped)))
        for layer, table in zip(layers, tables, strict=True)
    ]
    room = 1e-12 * max(1e-300, sum(abs(_price(table[0], swapped)) for table in tables))
    least = sum(_price(table[-1], swapped) for table in tables)
    if not least <= budget + room:
        what = "damage" if swapped else "seconds"
        raise ValueError(
            f"{what}={budget:.6g} is below {least:.6g}, the least that these options can reach: "
            "pass more, or options with lower ranks"
        )
    incumbent = _greedy(hulls, budget + room, swapped)
    best = sum(_loss(option, swapped) for option in incumbent)
    # Layers with the widest choice first: what is left then bounds tightly.
    order = sorted(range(len(layers)), key=lambda i: -len(tables[i]))
    prices, losses = np.zeros(1), np.zeros(1)
    trail: list[tuple[Array, Array]] = []  # of each layer: the state it came from, its option
    for position, i in enumerate(order):
        price = np.array([_price(option, swapped) for option in tables[i]])
        loss = np.array([_loss(option, swapped) for option in tables[i]])
        source, pick = np.divmod(np.arange(len(prices) * len(price)), len(price))
        prices, losses = prices[source] + price[pick], losses[source] + loss[pick]
        rest = [hulls[j] for j in order[position + 1 :]]
        slack = 1e-9 * max(abs(best), 1e-300)
        keep = losses + _bound(rest, budget + room - prices, swapped) < best - slack
        keep = np.flatnonzero(keep)
        keep = keep[_pareto(prices[keep], losses[keep], budget)]
        prices, losses = prices[keep], losses[keep]
        trail.append((source[keep], pick[keep]))
        if not len(keep):
            return dict(zip(layers, incumbent, strict=True))
    state = int(np.argmin(losses))
    found: dict[int, Option] = {}
    for i, (source, pick) in zip(reversed(order), reversed(trail), strict=True):
        found[i] = tables[i][int(pick[state])]
        state = int(source[state])
    return {layer: found[i] for i, layer in enumerate(layers)}


def _greedy(hulls: list[_Hull], budget: float, swapped: bool) -> list[Option]:
    """A choice within the budget: down the hulls until it is kept, then up where there is room."""
    current = [hull.options[0] for hull in hulls]
    price = sum(_price(option, swapped) for option in current)
    for step in _steps(hulls, swapped=swapped):
        if price <= budget:
            break
        current[step.layer] = step.to
        price = sum(_price(option, swapped) for option in current)
    for i, hull in enumerate(hulls):
        for option in hull.options:
            changed = price - _price(current[i], swapped) + _price(option, swapped)
            if changed <= budget and _loss(option, swapped) < _loss(current[i], swapped):
                current[i], price = option, changed
    return current


def _bound(hulls: list[_Hull], left: Array, swapped: bool) -> Array:
    """The least loss that the hulls could add within the price that is left; inf where none can."""
    start_price = sum(_price(hull.options[0], swapped) for hull in hulls)
    start_loss = sum(_loss(hull.options[0], swapped) for hull in hulls)
    steps = _steps(hulls, swapped=swapped)
    saved = np.concatenate([[0.0], np.cumsum([step.saved for step in steps])])
    added = np.concatenate([[0.0], np.cumsum([step.added for step in steps])])
    need = start_price - left
    bound: Array = start_loss + np.interp(need, saved, added)
    return np.where(need > saved[-1] * (1 + 1e-12) + 1e-300, math.inf, bound)


def _pareto(prices: Array, losses: Array, budget: float) -> Array:
    """Indices of the states that no other beats on both."""
    order = np.lexsort((losses, prices))
    ahead = np.concatenate([[math.inf], np.minimum.accumulate(losses[order])[:-1]])
    order = order[losses[order] < ahead]
    if len(order) > MOST_STATES:
        grid = np.floor(prices[order] / (abs(budget) or 1.0) * MOST_STATES)
        last = np.append(grid[1:] != grid[:-1], True)  # the least loss of each cell
        order = order[last]
    return order
