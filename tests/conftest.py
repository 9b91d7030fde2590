"""Settings of the whole suite."""

import os
import warnings

from hypothesis import HealthCheck, settings

# Without the C++ part the import warns; the suite runs all the same (test_public checks it).
with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    import rankconv  # noqa: F401

# The same cases in every run; RANKCONV_HYPOTHESIS=search looks for new ones.
settings.register_profile(
    "repeat",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", settings.get_profile("repeat"), derandomize=False)
settings.load_profile(os.environ.get("RANKCONV_HYPOTHESIS", "repeat"))
