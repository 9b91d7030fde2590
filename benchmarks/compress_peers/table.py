"""The measurements of score.py as a page of Markdown."""

from __future__ import annotations

from typing import Any

from score import OURS, Entry, above, front

NET_NAMES = {"vgg": "VGG-like net", "resnet20": "ResNet-20", "resnet56": "ResNet-56"}


def entry_of(record: dict[str, Any]) -> Entry:
    """An entry as JSON gave it back, batch sizes as numbers again."""
    times = {
        key: {int(batch): tuple(values) for batch, values in record[key].items()}
        for key in ("seconds", "speedup")
    }
    return Entry(**(record | times))


def markdown(result: dict[str, Any]) -> str:
    """The whole page."""
    entries = [entry_of(record) for record in result["networks"]]
    machine, versions = result["machine"], result["versions"] | result["peer_versions"]
    lines = [
        "# Compressed by others and by rankconv",
        "",
        "Written by `benchmarks/compress_peers/score.py`; not edited by hand.",
        "",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}, Python "
        f"{machine['python']}. ONNX Runtime with {result['threads']} thread(s). Versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        + ".",
        "",
        f"Every network of a table was timed in one run of {result['rounds']} rounds, each with a "
        "turn in every round, in a new order. Times are medians in milliseconds a call, speed-ups "
        "medians over the rounds of the original's time over the network's, both with the "
        f"quartiles in brackets. Top-1 is of {result['images']} test images. No network was "
        "trained after it was compressed. `@0.50` means: asked for half of the multiply-adds.",
    ]
    for net in dict.fromkeys(one.net for one in entries):
        lines += ["", f"## {NET_NAMES.get(net, net)}", "", *table_of(entries, net)]
    if result["failures"]:
        lines += ["", "## What did not run", ""]
        lines += [f"- `{name}`: {words}" for name, words in sorted(result["failures"].items())]
    return "\n".join(lines) + "\n"


def table_of(entries: list[Entry], net: str) -> list[str]:
    """The rows of a network, the most exact first, and who stands above whom."""
    original, *rest = (one for one in entries if one.net == net)
    batches = list(original.seconds)
    head = ["network", "multiply-adds", "parameters", "top-1", "points lost"]
    head += [f"{what}, batch {batch}" for batch in batches for what in ("ms", "speed-up")]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for one in (original, *sorted(rest, key=lambda one: -one.top1)):
        name = f"**{one.name}**" if one.peer == OURS else one.name
        cells = [
            name,
            f"{100 * one.multiply_adds / original.multiply_adds:.0f} %",
            f"{100 * one.parameters / original.parameters:.0f} %",
            f"{one.top1:.2f}",
            f"{original.top1 - one.top1:.2f}",
        ]
        for batch in batches:
            cells.append(spread(one.seconds[batch], 1000, 3 if batch == 1 else 1))
            cells.append(spread(one.speedup[batch], 1, 2))
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, *verdict([original, *rest], batches)]


def spread(values: tuple[float, float, float], times: float, digits: int) -> str:
    """'median [lower, upper]'."""
    middle, low, high = (f"{times * value:.{digits}f}" for value in values)
    return f"{middle} [{low}, {high}]"


def verdict(entries: list[Entry], batches: list[int]) -> list[str]:
    """For each batch size whether a peer beats a point of our own front; none without ours."""
    ours = [one for one in entries if one.peer == OURS]
    peers = [one for one in entries if one.peer != OURS]
    lines = []
    for batch in batches if ours else []:
        beaten = {one.name: above(one, peers, batch) for one in front(ours, batch)}
        told = [f"{name} by {', '.join(by)}" for name, by in beaten.items() if by]
        text = "; ".join(told) or "none"
        lines += ["", f"Points of rankconv's front that a peer beats at batch {batch}: {text}."]
    return lines
