"""Bands of rows that stay in the second-level cache while several passes go over them."""

from __future__ import annotations

from collections.abc import Iterator

# Half of a 512 KB second-level cache, the smallest on today's x86 servers: the band, the
# intermediate result and the output share it.
CACHE_BYTES = 256 * 1024


def bands(rows: int, row_bytes: int, halo: int) -> Iterator[tuple[int, int]]:
    """Ranges (start, stop) that cover `rows` output rows, each `row_bytes` wide.

    A band reads `halo` input rows more than it writes, which every band repeats: it is kept at
    least four times as tall as that, also where it then outgrows the cache.
    """
    height = max(CACHE_BYTES // (3 * max(row_bytes, 1)), 4 * halo, 1)
    for start in range(0, rows, height):
        yield start, min(start + height, rows)
