"""Colours by name, each in a light and a dark version.

The colours of the paper's seven methods are those of Okabe and Ito ("Color Universal Design",
2008), which people with colour-blindness can tell apart; on a dark ground two are lightened.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: name -> (on a light ground, on a dark ground); no two light ones are equal, so that the
#: page can exchange one for the other.
COLOURS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "rank -1": ("#1b1f24", "#f4f6f8"),
        "rank 0": ("#b5588f", "#dd8fbf"),
        "rank 1": ("#d55e00", "#ff8a3c"),
        "rank 2": ("#e69f00", "#f5bd4a"),
        "rank 3": ("#009e73", "#2fc79b"),
        "rank 4": ("#56b4e9", "#8accf5"),
        "rank 5": ("#0072b2", "#4d9bea"),
        "extra 0": ("#0f766e", "#5eead4"),
        "extra 1": ("#be123c", "#fb7185"),
        "extra 2": ("#7c3aed", "#b79cf9"),
        "extra 3": ("#a16207", "#facc15"),
        "extra 4": ("#0369a1", "#38bdf8"),
        "extra 5": ("#4d7c0f", "#a3e635"),
        "extra 6": ("#c026d3", "#e879f9"),
        "extra 7": ("#57534e", "#bdb6af"),
        "train": ("#2563eb", "#7aa7ff"),
        "paper": ("#8a8f98", "#959ba6"),
        "text": ("#24292f", "#dfe3e8"),
        "muted": ("#59636e", "#9aa4b0"),
        "grid": ("#e3e6ea", "#2c333c"),
        "axis": ("#b6bdc6", "#4a535e"),
        "ground": ("#ffffff", "#161b22"),
    }
)

#: Filters: negative, zero, positive.
DIVERGING = ("#2166ac", "#f7f7f7", "#b2182b")


def light(name: str) -> str:
    """The colour for a light ground: `light('ground')` is '#ffffff'."""
    return COLOURS[name][0]
