"""Broken and hostile data: each gets an error that names the file, and leaves nothing behind."""

import io
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_archives import (
    WRITERS,
    Files,
    image_files,
    picture,
    python2_batch,
    python_files,
    write_folder,
    write_tar,
    write_zip,
)
from rankconv.paper import data_decode, data_sources
from rankconv.paper.data import DataError, load

SOME = "train/dog/0001.jpg"


def refused(path: Path, match: str, tmp_path: Path) -> str:
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=match) as caught:
        load(path, cache_dir=cache)
    assert not list(cache.rglob("*.npy"))
    assert not list(cache.rglob(".partial-*"))
    message = str(caught.value)
    assert path.name in message
    assert ";" in message  # the way out
    assert "Traceback" not in message
    assert "0x" not in message
    return message


# ------------------------------------------------------------------ contents
def bomb_png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)


def without(prefix: str) -> Callable[[Files], Files]:
    return lambda files: {n: d for n, d in files.items() if not n.startswith(prefix)}


def replaced(data: bytes, name: str = SOME) -> Callable[[Files], Files]:
    return lambda files: files | {name: data}


JPEG = picture(3)
PNG = picture(3, kind="PNG")
CASES: dict[str, tuple[Callable[[Files], Files], str]] = {
    "cut JPEG": (replaced(JPEG[: len(JPEG) // 2]), SOME),
    "JPEG of noise": (replaced(JPEG[:300] + b"\xff" * 200), SOME),
    "cut PNG": (replaced(PNG[: len(PNG) // 2], "test/cat/9.png"), "test/cat/9.png"),
    "damaged PNG": (
        replaced(PNG[:60] + b"\0\0\0\0" + PNG[64:], "test/cat/9.png"),
        "test/cat/9.png",
    ),
    "empty file": (replaced(b""), f"{SOME}.*no image"),
    "text named jpg": (replaced(b"hello" * 99), SOME),
    "GIF named jpg": (replaced(picture(1, mode="L", kind="GIF")), SOME),
    "other size": (replaced(picture(1, side=28)), f"{SOME}.*28 x 28.*32 x 32"),
    "transparent": (
        replaced(picture(1, mode="RGBA", kind="PNG"), "train/cat/a.png"),
        "a.png.*RGBA.*save it as RGB",
    ),
    "bomb below Pillow's limit": (replaced(bomb_png(5000), "test/emu/b.png"), "b.png.*5000 x 5000"),
    "bomb with Pillow's warning": (replaced(bomb_png(10_000), "test/emu/b.png"), "test/emu/b.png"),
    "bomb with Pillow's error": (replaced(bomb_png(65_000), "test/emu/b.png"), "test/emu/b.png"),
    "large file": (replaced(bytes(2 << 20)), f"{SOME}.*2097152 bytes.*1048576 are allowed"),
    "no image": (replaced(b"a,b", "train/cat/list.csv"), "train/cat/list.csv.*not an image"),
    "file among classes": (replaced(b"a,b", "train/labels.csv"), "train/labels.csv.*out of place"),
    "file as split": (lambda f: without("test/")(f) | {"test": b"x"}, "'test' is out of place"),
    "nested too deep": (replaced(JPEG, "train/cat/more/1.jpg"), "train/cat/more"),
    "no test folder": (without("test/"), "no test/<class>/ folders"),
    "no train folder": (without("train/"), "no train/<class>/ folders"),
    "nothing known": (lambda _: {"a/b.jpg": JPEG}, "no train/<class>/ folders.*python archive"),
    "class only in train": (without("test/dog/"), "'dog' is in train but not in test"),
    "class only in test": (without("train/dog/"), "'dog' is in test but not in train"),
    "two top folders": (replaced(JPEG, "other/train/cat/1.jpg"), "more than one place.*'other'"),
}


@pytest.mark.parametrize("archive", ["", ".tar.gz", ".zip"])
@pytest.mark.parametrize("case", CASES)
def test_bad_content_is_refused_by_name(tmp_path: Path, case: str, archive: str) -> None:
    change, match = CASES[case]
    path = WRITERS[archive](tmp_path / f"bad{archive}", change(image_files()))
    refused(path, match, tmp_path)


def test_an_empty_class_is_refused(tmp_path: Path) -> None:
    files = without("test/dog/")(image_files())
    folder = write_folder(tmp_path / "folder", files)
    (folder / "test" / "dog").mkdir()
    packed = tmp_path / "packed.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(folder, arcname="top")
    zipped = write_zip(tmp_path / "zipped.zip", files | {"test/dog/": b""})
    for path in (folder, packed, zipped):
        refused(path, "'test/dog' holds no image", tmp_path)


def test_something_else_than_an_archive(tmp_path: Path) -> None:
    for name, content in {"a.tar": b"hello", "b.zip": b"", "c.jpg": JPEG}.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "not a .tar, .tar.gz, .tar.xz or .zip", tmp_path)
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no train/<class>/ folders", tmp_path)


def test_too_many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "many.zip", image_files())
    monkeypatch.setattr(data_decode, "MAX_IMAGES", 17)
    refused(path, "more than 17 images", tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_in_a_folder_does_not_wait(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", image_files())
    os.mkfifo(folder / "train" / "dog" / "pipe.jpg")
    refused(folder, "train/dog/pipe.jpg.*not a regular file", tmp_path)


# ------------------------------------------------------------------ archives
@pytest.mark.parametrize("archive", [".tar", ".tar.gz", ".tar.xz", ".zip"])
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, archive: str) -> None:
    whole = WRITERS[archive](tmp_path / f"whole{archive}", image_files()).read_bytes()
    end = len(whole)
    if archive == ".tar":
        end = len(whole.rstrip(b"\0")) // 512 * 512 + 1024  # behind it: only filling
    cuts = np.linspace(1, end - 1, 60).astype(int).tolist()
    if archive == ".tar":
        cuts += range(512, end, 512)  # between two members it looks like the end
    path = tmp_path / f"cut{archive}"
    for cut in cuts:
        path.write_bytes(whole[:cut])
        refused(path, "damaged|not a .tar", tmp_path)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", image_files()).read_bytes()
    path = tmp_path / "bad.tar"
    for name in ("train/dog/0001.jpg", "train/cat/0000.jpg"):  # in the middle, the last one
        at = whole.index(name.encode()) + 1
        path.write_bytes(whole[:at] + b"X" + whole[at + 1 :])
        refused(path, "damaged or cut short", tmp_path)


def test_damaged_zip_content(tmp_path: Path) -> None:
    whole = bytearray(write_zip(tmp_path / "whole.zip", image_files()).read_bytes())
    whole[200:260] = bytes(60)
    (tmp_path / "bad.zip").write_bytes(whole)
    refused(tmp_path / "bad.zip", "damaged or cut short", tmp_path)


BAD_NAMES = (
    "../train/cat/1.jpg",
    "/train/cat/1.jpg",
    "train/../../1.jpg",
    "train\\cat\\1.jpg",
    "C:/1",
)


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("archive", [".tar.xz", ".zip"])
def test_a_path_out_of_the_archive(tmp_path: Path, archive: str, name: str) -> None:
    path = WRITERS[archive](tmp_path / f"bad{archive}", image_files() | {name: JPEG})
    assert repr(name) in refused(path, "outside the archive", tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("train/cat/link.jpg")
    link.type, link.linkname = kind, "/etc/passwd"
    path = write_tar(tmp_path / "bad.tar", image_files(), extra=(link,))
    refused(path, "train/cat/link.jpg.*a link or a special file", tmp_path)


def test_links_in_a_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bad.zip", image_files())
    info = zipfile.ZipInfo("train/cat/link.jpg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(path, "train/cat/link.jpg.*is a link", tmp_path)


def test_an_encrypted_zip(tmp_path: Path) -> None:
    whole = bytearray(write_zip(tmp_path / "whole.zip", image_files()).read_bytes())
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "bad.zip").write_bytes(whole)
    refused(tmp_path / "bad.zip", "encrypted", tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_twice(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "twice.tar", image_files() | {f"./{SOME}": JPEG})
    refused(tar, f"{SOME}' is there twice", tmp_path)
    zipped = write_zip(tmp_path / "twice.zip", image_files())
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.writestr(SOME, JPEG)
    refused(zipped, f"{SOME}' is there twice", tmp_path)


@pytest.mark.parametrize("archive", [".tar.gz", ".tar.xz"])
def test_an_archive_that_unpacks_without_end(
    tmp_path: Path, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_sources, "MAX_UNPACKED_BYTES", 4 << 20)
    path = WRITERS[archive](tmp_path / f"bomb{archive}", {"zeros": bytes(8 << 20)})
    assert path.stat().st_size < 20_000
    refused(path, "unpacks to more than 4 MiB", tmp_path)


# ------------------------------------------------------------------ pickles
class Runs:
    """A pickle of it calls `call` with `arguments` when it is read."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.call, self.arguments


def glued(*opcodes: bytes) -> bytes:
    return b"\x80\x02" + b"".join(opcodes) + b"."


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    calls = (
        Runs(os.system, f"touch {witness}"),
        Runs(eval, f"open({str(witness)!r}, 'w')"),
        Runs(io.FileIO, str(witness), "w"),
        Runs(np.load, str(witness)),
    )
    for protocol in range(6):
        for call in calls:
            content = pickle.dumps({b"data": call, b"labels": []}, protocol)
            for name in ("data_batch_3", "test_batch", "batches.meta"):
                files = python_files()[0] | {f"cifar-10-batches-py/{name}": content}
                path = write_zip(tmp_path / "bad.zip", files)
                message = refused(path, f"{name}.*asks for .*, which is not allowed", tmp_path)
                assert "fetch the archive again" in message
                assert not witness.exists()
    # The same file does run for a careless reader: the test looks at the right thing.
    pickle.loads(pickle.dumps(calls[0]))
    assert witness.exists()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n"
HOSTILE = {
    "state of a function": glued(ARRAY, b"}U\x01aK\x01sb"),
    "slots of a function": glued(ARRAY, b"N}U\x05_makecnumpy\ndtype\ns\x86b"),
    "an attribute behind a dot": glued(b"cnumpy\nndarray.tofile\n"),
    "a function of a name": glued(b"cnumpy\nload\n", b"U\x04/etc\x85R"),
    "an extension code": glued(b"\x82\x01"),
    "a persistent id": glued(b"U\x01aQ"),
    "a large memo": glued(b"Nr\xff\xff\xff\x7f"),
    "a large text": glued(b"\x8d" + b"\xff" * 7 + b"\x7f"),
    "a large array": glued(
        ARRAY, b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01J\xff\xff\xff\x7fM\x00\x0c\x86",
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x00tb",
    ),
    "objects in the array": python2_batch(np.zeros((6, 3072), np.uint8), [0] * 6).replace(
        b"U\x02u1", b"U\x02O8"
    ),
    "nothing": b"",
    "noise": b"\xff" * 50,
    "cut": python2_batch(np.zeros((6, 3072), np.uint8), [0] * 6)[:-200],
    "a list": pickle.dumps([1]),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles(tmp_path: Path, case: str) -> None:
    files = python_files()[0] | {"cifar-10-batches-py/data_batch_2": HOSTILE[case]}
    path = write_tar(tmp_path / "bad.tar.gz", files)
    refused(path, "data_batch_2", tmp_path)


def batch(data: object, labels: object) -> bytes:
    return pickle.dumps({b"data": data, b"labels": labels}, 2)


ROWS = np.zeros((6, 3072), np.uint8)
WRONG = {
    "no data": (pickle.dumps({b"labels": [0]}), "'data' is not an array"),
    "flat": (batch(ROWS.reshape(-1), [0] * 6), "plain table of bytes"),
    "floats": (batch(ROWS.astype(float), [0] * 6), "plain table of bytes"),
    "columns first": (batch(np.asfortranarray(ROWS), [0] * 6), "plain table of bytes"),
    "other width": (batch(ROWS[:, :100].copy(), [0] * 6), "N x 3072 bytes"),
    "no rows": (pickle.dumps({"data": ROWS[:0], "labels": []}, 4), "N x 3072 bytes"),
    "too few labels": (batch(ROWS, [0] * 5), "list of 6 numbers below 3"),
    "label too large": (batch(ROWS, [3] * 6), "list of 6 numbers below 3"),
    "label below 0": (batch(ROWS, [-1] * 6), "list of 6 numbers below 3"),
    "label no number": (batch(ROWS, ["0"] * 6), "list of 6 numbers below 3"),
    "labels no list": (batch(ROWS, 3), "list of 6 numbers below 3"),
    "a class without images": (batch(ROWS, [0] * 6), "no test image of the class 'cat'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_batches(tmp_path: Path, case: str) -> None:
    content, match = WRONG[case]
    files = python_files()[0] | {"cifar-10-batches-py/test_batch": content}
    refused(write_tar(tmp_path / "bad.tar.gz", files), match, tmp_path)


def test_missing_and_oversized_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data_batch_4", "test_batch", "batches.meta"):
        files = python_files()[0]
        del files[f"cifar-10-batches-py/{name}"]
        refused(write_tar(tmp_path / "bad.tar.gz", files), f"'{name}' is missing", tmp_path)
    files = python_files()[0]
    files["cifar-10-batches-py/batches.meta"] = pickle.dumps({b"label_names": [b"a", b"a"]}, 2)
    refused(write_tar(tmp_path / "bad.tar.gz", files), "label_names", tmp_path)
    monkeypatch.setattr(data_decode, "MAX_BATCH_BYTES", 100)
    files = python_files()[0]
    refused(write_tar(tmp_path / "bad.tar.gz", files), "100 are allowed", tmp_path)
