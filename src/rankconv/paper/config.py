"""What a run of the experiment is made of, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from rankconv.paper.methods import methods
from rankconv.paper.model import FILTER_SIZE, IMAGE_SIZE
from rankconv.paper.networks import MODELS, smallest_map
from rankconv.paper.training import SCHEDULES, TRAIN_METHODS, Recipe

NORMALIZATIONS = ("image", "dataset", "none")
_COUNTS = (
    "epochs",
    "batch_size",
    "hidden",
    "naive_every",
    "extra_every",
    "threads",
    "block",
    "project_every",
)
FILTER_SIZES = 3, 11


@dataclass(frozen=True)
class Config:
    """What a run is made of; two runs with equal configurations give equal records but for time.

    The defaults are the full experiment. What the paper leaves open is chosen here: images
    standardised one by one (`normalize="image"`; "dataset" uses the training set's mean and
    deviation, "none" the grey values in [0, 1]) and half of the training images mirrored (`flip`),
    SGD with Nesterov momentum, a rate that falls with a cosine to a fiftieth within 40 epochs and
    stays there (`schedule="anneal"`; "cosine" falls to zero over the whole run), and a hidden
    width of 500. A network with one filter a layer depends much on where it starts: of a few
    seeds, 3 became the best and is the default; docs/results.md has the spread.

    `naive_every` runs the Python loop in every n-th epoch only (and in the last), `naive_images` on
    that many test images only, drawn by the seed (None: all). `extra_every` runs the methods beyond
    the paper in every n-th epoch only (and in the last). `methods` restricts the run to the given
    keys (None: all that can run here); PyTorch always runs, since it is the reference. `block` is
    the number of images that one method classifies before the next one takes its turn.

    `train_rank` trains towards filters of that rank (None: freely), as `train_method` says:
    "factors" learns the chains of rank r in the filters' place, "penalty" adds `penalty` times the
    sum of the singular values beyond r to the loss, "projection" cuts the filters to rank r
    after every `project_every` steps and each epoch. With the last two the rank may fall from the
    full one to `train_rank` over the first `rank_epochs` epochs. `train_share` trains towards
    spatial pairs (a column, then a row filter over all channels) that take this share of each
    layer's multiply-adds: for nets of many channels, whose slices at rank 1 save nothing.

    `model` is "paper", "lenet" (6 and 16 filters on grey images) or "vgg" (six layers with batch
    norm on RGB images), with filters of `filter_size`, on images resampled to `image_size`. All
    but the paper's own network run by `rankconv.paper.chains` in NumPy.
    """

    epochs: int = 250
    batch_size: int = 64
    seed: int = 3
    hidden: int = 500
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "anneal"
    normalize: str = "image"
    flip: bool = True
    naive_every: int = 1
    naive_images: int | None = None
    extra_every: int = 1
    methods: tuple[str, ...] | None = None
    threads: int = 1
    block: int = 500
    train_rank: int | None = None
    train_method: str = "projection"
    project_every: int = 20
    penalty: float = 0.05
    rank_epochs: int = 0
    train_share: float | None = None
    model: str = "paper"
    filter_size: int = FILTER_SIZE
    image_size: int = IMAGE_SIZE

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.naive_images is not None and self.naive_images < 1:
            raise ValueError(
                f"naive_images={self.naive_images} must be at least 1, or None for all"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate} must be positive")
        for name, allowed in (
            ("schedule", SCHEDULES),
            ("normalize", NORMALIZATIONS),
            ("train_method", TRAIN_METHODS),
            ("model", MODELS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is not one of {', '.join(map(repr, allowed))}"
                )
        self._check_sizes()
        self._check_rank()
        known = [method.key for method in methods(self.model, self.filter_size, self.image_size)]
        unknown = [key for key in self.methods or () if key not in known]
        if unknown:
            raise ValueError(f"methods={unknown} are not among {known}")

    @property
    def color(self) -> Literal["gray", "rgb"]:
        """'rgb' for the model on RGB images, 'gray' for the others."""
        return "rgb" if self.model == "vgg" else "gray"

    @property
    def recipe(self) -> Recipe:
        """The part of the configuration that training reads."""
        return Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})

    def _check_sizes(self) -> None:
        low, high = FILTER_SIZES
        if not low <= self.filter_size <= high:
            raise ValueError(f"filter_size={self.filter_size} is not from {low} to {high}")
        if self.model == "vgg" and self.filter_size % 2 == 0:
            raise ValueError(
                f"filter_size={self.filter_size} is even: 'vgg' keeps the image's size, which "
                "needs an odd filter"
            )
        if smallest_map(self.model, self.filter_size, self.image_size) < 1:
            raise ValueError(
                f"image_size={self.image_size} leaves nothing after two layers of filters of "
                f"{self.filter_size}: pass a larger image_size or a smaller filter_size"
            )

    def _check_rank(self) -> None:
        if self.train_rank is not None and not 1 <= self.train_rank <= self.filter_size:
            raise ValueError(
                f"train_rank={self.train_rank} is not a rank of a {self.filter_size} x "
                f"{self.filter_size} filter: pass 1 to {self.filter_size}, or leave it out to "
                "train freely"
            )
        if self.train_share is not None:
            if not 0 < self.train_share <= 1:
                raise ValueError(f"train_share={self.train_share} is not in (0, 1]")
            if self.train_rank is not None:
                raise ValueError("train_rank and train_share exclude each other: pass one")
            if self.rank_epochs:
                raise ValueError("rank_epochs is for train_rank: leave it out with train_share")
        if not (math.isfinite(self.penalty) and self.penalty > 0):
            raise ValueError(f"penalty={self.penalty} must be positive")
        if self.rank_epochs < 0 or (self.rank_epochs and self.train_method == "factors"):
            raise ValueError(
                f"rank_epochs={self.rank_epochs} must be 0 or more, and 0 for "
                "train_method='factors', whose rank cannot fall"
            )
        if self.train_rank is None and self.rank_epochs:
            raise ValueError(f"rank_epochs={self.rank_epochs} needs a train_rank to fall to")
