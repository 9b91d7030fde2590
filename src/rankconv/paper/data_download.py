"""The official CIFAR-10 archive, for people with internet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from rankconv.paper.data_sources import DataError

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
ARCHIVE = "cifar-10-python.tar.gz"
VARIABLE = "RANKCONV_DATA"


def download(
    *,
    destination: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    url: str = CIFAR10_URL,
) -> Path:
    """Fetch the official CIFAR-10 python archive (170 MB), check its SHA-256, return its path.

    `destination` is the folder that gets the file (None: the user's cache folder, where `load`
    finds it); a file already there and whole is kept.  `progress` is called with (bytes so far,
    bytes in all; 0 where the server does not say).  `url` may name a mirror: the checksum stays.

    Raises `DataError` where there is no network, the server refuses or the checksum differs; then
    no file stays behind.

    >>> archive = download(progress=print)  # doctest: +SKIP
    >>> data = load(archive)  # doctest: +SKIP

    Source: https://www.cs.toronto.edu/~kriz/cifar.html
    """
    import pooch
    import requests

    folder = downloads(cache_root(None)) if destination is None else Path(destination)
    manual = f"or fetch it with a browser and pass its path as data (or in {VARIABLE})"
    pooch.get_logger().setLevel(logging.WARNING)  # progress is the caller's business
    try:
        return Path(
            pooch.retrieve(
                url,
                known_hash=f"sha256:{CIFAR10_SHA256}",
                fname=ARCHIVE,
                path=folder,
                downloader=pooch.HTTPDownloader(
                    progressbar=_Bar(progress) if progress is not None else False, timeout=30
                ),
            )
        )
    except requests.exceptions.HTTPError as error:
        raise DataError(f"{url} cannot be fetched ({error}); try again later, {manual}") from error
    except requests.exceptions.RequestException as error:
        raise DataError(
            f"{url} cannot be reached; check the network connection, {manual}"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{url} gave a file whose SHA-256 is not {CIFAR10_SHA256}; try again, {manual}"
        ) from error
    except OSError as error:
        raise DataError(
            f"{str(folder)!r} cannot be written ({error.strerror}); pass another destination"
        ) from error


class _Bar:
    """The face that pooch asks of a progress bar, over a plain function."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress, self._done, self.total = progress, 0, 0

    def update(self, amount: int) -> None:
        self._done += amount
        self._progress(min(self._done, self.total) if self.total else self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Nothing is open."""


def cache_root(cache_dir: Path | None) -> Path:
    """The folder for decoded arrays and downloads: the given one or the user's cache folder."""
    if cache_dir is not None:
        return Path(cache_dir)
    import platformdirs

    return platformdirs.user_cache_path("rankconv")


def downloads(cache: Path) -> Path:
    """Where `load` looks for a downloaded archive."""
    return cache / "downloads"
