"""How the experiment's counts are written for people."""

from __future__ import annotations

from rankconv.paper.records import Log


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


def training_text(log: Log) -> str:
    """How a run was trained: 'freely', 'projection to rank 1'.

    The rank is that of the filters at the end.
    """
    rank, method = log.config.get("train_rank"), str(log.config.get("train_method"))
    share = log.config.get("train_share")
    if rank is None and share is None:
        return "freely"
    words = {"factors": "factors of", "penalty": "penalty beyond", "projection": "projection to"}
    target = f"rank {rank}"
    if share is not None:
        target = f"{100 * float(share):g} % of the multiply-adds"
    return f"{words.get(method, method)} {target}"
