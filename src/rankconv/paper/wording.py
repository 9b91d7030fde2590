"""How the experiment's counts are written for people."""

from __future__ import annotations


def images_text(count: int) -> str:
    """How many test images a time stands for.

    >>> images_text(10_000)
    'the 10,000 test images'
    """
    return f"the {count:,} test images"


def epochs_text(count: int) -> str:
    """How many epochs.

    >>> epochs_text(1), epochs_text(250)
    ('1 epoch', '250 epochs')
    """
    return "1 epoch" if count == 1 else f"{count:,} epochs"
