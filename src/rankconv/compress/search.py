"""The choice that a budget allows, found by measuring a few whole networks.

The table's sums only say where to look: the refit lowers the harm, the layers of a network run
closer together than alone. So a choice is fitted and measured as a whole, and its measured drop
or speed-up says how far the next one goes along the front.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rankconv.compress.choose import choose
from rankconv.compress.network import Network, Replacement
from rankconv.compress.records import Option

Choice = Mapping[str, Option]
EVALUATIONS = 5  # of a budget
MOST = 7  # with the rest of the front
AROUND = (0.3, 3.0, 0.1, 8.0, 0.03)  # times the harm that the budget allows: where else to look
APART = 1.6  # as near as this to one that was measured there is nothing to see
NEAR = 1.12  # two ends of a bracket that are as near as this need no third between them
NEAR_SECONDS = 1.03  # the same for times
SAFETY = 0.9  # of the budget is aimed at


@dataclass(frozen=True, eq=False)
class Candidate:
    """A choice, fitted and measured on the part that chooses.

    `drop` is the measured one, `counted` over images or not, and `loss` the smooth loss of the
    outputs; `predicted` is what the table says of the harm and `seconds` what it says of the time.
    """

    choice: Choice
    replacements: Mapping[str, Replacement]
    network: Network
    drop: float
    loss: float
    speedup: float
    predicted: float
    seconds: float
    counted: bool = False


Evaluate = Callable[[Choice], Candidate]


@dataclass(frozen=True)
class Budget:
    """What is asked for: a drop at most, or a speed-up at least. The other is None."""

    max_drop: float | None
    speedup: float | None


def search(
    options: Sequence[Option], budget: Budget, evaluate: Evaluate, *, seconds: float = 0.0
) -> list[Candidate]:
    """Candidates along the front, all those around the budget's end of it included.

    `seconds` are those of the whole original, of which the layers are the larger part.
    """
    found: list[Candidate] = []
    known: dict[tuple[tuple[str, str, str], ...], Candidate] = {}

    def at(choice: Choice) -> Candidate | None:
        """The candidate of a choice, None where it was measured before."""
        key = tuple((name, o.kind, str(o.rank)) for name, o in sorted(choice.items()))
        if key in known or all(o.kind == "dense" for o in choice.values()):
            return None
        known[key] = evaluate(choice)
        found.append(known[key])
        return known[key]

    if budget.max_drop is not None:
        _by_drop(options, budget.max_drop, at, found)
    else:
        assert budget.speedup is not None
        _by_speed(options, budget.speedup, seconds, at, found)
    inside = [c for c in found if within(c, budget, found)]
    if found:
        _fill(options, at, found, _centre(inside or found, budget).predicted)
    return found


def within(candidate: Candidate, budget: Budget, all_of_them: Sequence[Candidate]) -> bool:
    """Whether a candidate keeps the budget."""
    if budget.max_drop is not None:
        return expected_drop(candidate, all_of_them) <= budget.max_drop
    return budget.speedup is not None and candidate.speedup >= budget.speedup


def _centre(candidates: Sequence[Candidate], budget: Budget) -> Candidate:
    if budget.max_drop is not None:
        return max(candidates, key=lambda c: c.speedup)
    return min(candidates, key=lambda c: c.loss)


def expected_drop(candidate: Candidate, all_of_them: Sequence[Candidate]) -> float:
    """The measured drop, or where images are counted its mean with a smooth estimate.

    A drop counted on some hundreds of images is off by a point or so. The smooth loss is not, and
    the ratio of drop to loss over all candidates is steadier than one drop.
    """
    if not candidate.counted:
        return candidate.drop
    losses = [c.loss for c in all_of_them if math.isfinite(c.loss)]
    drops = [c.drop for c in all_of_them if math.isfinite(c.loss)]
    ratio = max(sum(drops), 0.0) / (sum(losses) or 1.0)
    return (candidate.drop + ratio * candidate.loss) / 2


def _by_drop(
    options: Sequence[Option],
    limit: float,
    at: Callable[[Choice], Candidate | None],
    found: list[Candidate],
) -> None:
    most = sum(max(o.damage for o in options if o.layer == name) for name in _layers(options))
    least = min((o.damage for o in options if o.damage > 0), default=0.0)
    if not most > 0 or not least > 0:
        return
    low, high = math.log(least) - 1e-9, math.log(most) + 1e-9  # of the predicted harm
    ends: list[float | None] = [None, None]  # the drops measured there
    target = min(max(math.log(max(limit, least)), low), high)
    for _ in range(EVALUATIONS):
        candidate = at(choose(options, damage=math.exp(target)))
        if candidate is None:  # measured before: what is left to find lies above
            if high - low < math.log(NEAR):
                return
            target = (target + high) / 2
            continue
        drop = expected_drop(candidate, found)
        if drop <= limit:
            low, ends[0] = target, drop
        else:
            high, ends[1] = target, drop
        if high - low < math.log(NEAR):
            return
        target = _next(low, high, ends, target, drop, SAFETY * limit)


def _next(
    low: float, high: float, ends: Sequence[float | None], at: float, drop: float, aim: float
) -> float:
    """Where on the logarithm of the harm the drop `aim` is to be expected.

    Between two measured ends on the straight line; from one, as if drop and harm were in
    proportion, by a factor of eight at most.
    """
    if ends[0] is not None and ends[1] is not None:
        share = (aim - ends[0]) / (ends[1] - ends[0])
        return low + min(max(share, 0.15), 0.85) * (high - low)
    step = math.log(aim / drop) if drop > 0 and aim > 0 else math.log(8.0)
    target = at + min(max(step, -math.log(8.0)), math.log(8.0))
    return target if low < target < high else (low + high) / 2


def _by_speed(
    options: Sequence[Option],
    wanted: float,
    whole: float,
    at: Callable[[Choice], Candidate | None],
    found: list[Candidate],
) -> None:
    names = _layers(options)
    fastest = sum(min(o.seconds for o in options if o.layer == n) for n in names)
    dense = sum(o.seconds for o in options if o.kind == "dense")
    whole = max(whole, dense)  # what lies between the layers stays as it is
    low, high = fastest * (1 + 1e-9), dense  # low is fast enough, or nothing is
    target = min(max(low, dense - whole * (1 - 1 / wanted)), high)
    for _ in range(EVALUATIONS):
        candidate = at(choose(options, seconds=target))
        if candidate is None:
            if high / low < NEAR_SECONDS:
                return
            target = math.sqrt(low * target)
            continue
        if candidate.speedup >= wanted:
            low = target
        else:
            high = target
        if high / low < NEAR_SECONDS:
            return
        target -= whole * (1 / candidate.speedup - 1 / (1.01 * wanted))
        if not low < target < high:
            target = math.sqrt(low * high)


def _fill(
    options: Sequence[Option],
    at: Callable[[Choice], Candidate | None],
    found: list[Candidate],
    centre: float,
) -> None:
    """A few more of the front on both sides of the predicted harm that the budget allows."""
    seen = [c.predicted for c in found]
    for factor in AROUND:
        if len(found) >= MOST:
            return
        predicted = centre * factor
        if all(max(predicted, p) > APART * min(predicted, p) for p in seen if p > 0):
            choice = choose(options, damage=predicted)
            if at(choice) is not None:
                seen.append(predicted)


def _layers(options: Sequence[Option]) -> list[str]:
    return list(dict.fromkeys(option.layer for option in options))
