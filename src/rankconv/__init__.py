"""Cheaper 2-D convolutions by rank-n approximation of their filters."""

from rankconv import _native_module as _native_module
from rankconv.calibration import calibrate
from rankconv.correlate.toeplitz import extended_slide
from rankconv.factorizations import factorize
from rankconv.filtering import convolve2d, correlate2d
from rankconv.planning import Plan, plan
from rankconv.separable_filter import SeparableFilter
from rankconv.stages import Factorization, Stage

__all__ = [
    "Factorization",
    "Plan",
    "SeparableFilter",
    "Stage",
    "calibrate",
    "convolve2d",
    "correlate2d",
    "extended_slide",
    "factorize",
    "plan",
]
