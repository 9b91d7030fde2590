"""The linear filters of `scipy.ndimage`: the same arguments, defaults and results, without SciPy.

Filters over two axes run as one `rankconv.correlate2d`, with more axes two at a time. What differs
from SciPy 1.17:

- A float32 image with a float32 result is filtered in float32; SciPy sums in float64. Pass
  `output="float64"` for its precision.
- Integer results are summed in SciPy's order and cut towards zero after each axis, so that they
  are the same integers. A value that the type cannot hold wraps around in every type; SciPy
  leaves that to the C compiler.
- A NaN stays within the windows that see it, also in `uniform_filter`, and weights below 2e-16
  count; SciPy carries the NaN to the end of the line and may drop such weights.
- Arguments that are not allowed raise ValueError, which SciPy does for some alone; a negative
  sigma, a fractional size and masked arrays are refused.
"""

from rankconv.ndimage.edges import (
    gaussian_gradient_magnitude,
    gaussian_laplace,
    laplace,
    prewitt,
    sobel,
)
from rankconv.ndimage.linear import convolve, convolve1d, correlate, correlate1d
from rankconv.ndimage.smoothing import (
    gaussian_filter,
    gaussian_filter1d,
    uniform_filter,
    uniform_filter1d,
)

__all__ = [
    "convolve",
    "convolve1d",
    "correlate",
    "correlate1d",
    "gaussian_filter",
    "gaussian_filter1d",
    "gaussian_gradient_magnitude",
    "gaussian_laplace",
    "laplace",
    "prewitt",
    "sobel",
    "uniform_filter",
    "uniform_filter1d",
]
