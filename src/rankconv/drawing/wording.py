"""How numbers are written for people."""

from __future__ import annotations


def seconds_text(seconds: float) -> str:
    """Seconds with three significant digits and the unit that suits them.

    >>> [seconds_text(s) for s in (61.234, 0.3051, 0.00002, 1234.0)]
    ['61.2 s', '305 ms', '20 µs', '1,234 s']
    """
    for limit, factor, unit in ((100.0, 1.0, "s"), (0.9995, 1.0, "s"), (0.9995e-3, 1e3, "ms")):
        if seconds >= limit:
            value = seconds * factor
            return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def times_text(ratio: float) -> str:
    """A ratio with its sign of multiplication.

    >>> [times_text(r) for r in (1.0077, 13.02, 152.4, 0.0066)]
    ['1.01×', '13.0×', '152×', '0.0066×']
    """
    if ratio >= 100:
        return f"{ratio:,.0f}×"
    if ratio >= 10:
        return f"{ratio:.1f}×"
    return f"{ratio:.2f}×" if ratio >= 0.1 else f"{ratio:.2g}×"


def percent_text(share: float, *, digits: int = 1) -> str:
    """A share of 1 as per cent.

    >>> percent_text(0.39713, digits=2)
    '39.71 %'
    """
    return f"{100 * share:.{digits}f} %"


def count_text(count: float) -> str:
    """A large count in words, with two significant digits.

    >>> [count_text(c) for c in (1.16e6, 2.443e10, 1.47e8, 950.0)]
    ['1.2 million', '24 billion', '150 million', '950']
    """
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if count >= size:
            return f"{float(f'{count / size:.2g}'):,.10g}{word}"
    return f"{count:,.0f}"


def points_text(difference: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points_text(-0.0123)
    '−1.23 points'
    """
    return f"{100 * difference:+.2f} points".replace("-", "−")
