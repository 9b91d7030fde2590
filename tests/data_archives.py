"""Builds the small data sets, whole and broken, on which the data tests run."""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "emu")
PER_CLASS = {"train": 4, "test": 2}
Files = dict[str, bytes]


def picture(seed: int, *, side: int = 32, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    depth = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, *depth), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def image_files(*, top: str = "", suffix: str = "jpg") -> Files:
    kind = {"jpg": "JPEG", "png": "PNG"}[suffix]
    return {
        f"{top}{split}/{name}/{i:04d}.{suffix}": picture(100 * c + 10 * i + len(split), kind=kind)
        for split, n in PER_CLASS.items()
        for c, name in enumerate(CLASSES)
        for i in range(n)
    }


def write_folder(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_tar(path: Path, files: Files, *, extra: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    mode = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}[path.suffix]
    with tarfile.open(path, mode) as tar:
        for name, data in reversed(files.items()):  # out of order, as file systems list them
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return path


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in reversed(files.items()):
            archive.writestr(name, data)
    return path


WRITERS: dict[str, Callable[[Path, Files], Path]] = {
    "": write_folder,
    ".tar": write_tar,
    ".tar.gz": write_tar,
    ".tgz": write_tar,
    ".tar.xz": write_tar,
    ".zip": write_zip,
}


# ------------------------------------------------------------------ the python archive
def python2_batch(data: np.ndarray, labels: list[int]) -> bytes:
    """The opcodes that Python 2 wrote for a batch, by hand: byte strings, not text."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    dtype = (
        b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + short(b"|") + b"NNN" + number(-1) + number(-1) + b"K\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short(b"b") + b"\x87R"
        b"(K\x01" + number(data.shape[0]) + number(data.shape[1]) + b"\x86" + dtype + b"\x89"
        b"T" + data.nbytes.to_bytes(4, "little") + data.tobytes() + b"tb"
    )
    listed = b"](" + b"".join(number(label) for label in labels) + b"e"
    return b"\x80\x02}(" + short(b"data") + array + short(b"labels") + listed + b"u."


def python_files(
    dump: Callable[[np.ndarray, list[int]], bytes] = python2_batch,
    *,
    names: tuple[bytes, ...] = (b"dog", b"cat", b"emu"),  # not sorted
    n: int = 6,
) -> tuple[Files, dict[str, tuple[np.ndarray, list[int]]]]:
    rng = np.random.default_rng(5)
    batches = {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        labels = rng.permutation(np.arange(n) % len(names)).tolist()
        batches[name] = (rng.integers(0, 256, (n, 3072), dtype=np.uint8), labels)
    files = {f"cifar-10-batches-py/{name}": dump(*batch) for name, batch in batches.items()}
    files["cifar-10-batches-py/batches.meta"] = pickle.dumps({b"label_names": list(names)}, 2)
    files["cifar-10-batches-py/readme.html"] = b"<html></html>"
    return files, batches
