"""The cache of decoded images: quick, whole or absent, safe for processes side by side."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from data_archives import image_files, picture, write_folder, write_tar
from rankconv.paper import data as data_module
from rankconv.paper import data_cache
from rankconv.paper.data import Dataset, load


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "my.tar.gz", image_files())


def same(a: Dataset, b: Dataset) -> bool:
    return (
        a.digest == b.digest
        and np.array_equal(a.train_images, b.train_images)
        and np.array_equal(a.test_images, b.test_images)
    )


def folders(cache: Path) -> list[Path]:
    return list((cache / "decoded").iterdir())


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_module, "decode", lambda *_, **__: pytest.fail("decoded again"))


def test_the_second_start_maps_the_arrays(
    archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(archive, cache_dir=cache)
    forbid_decoding(monkeypatch)
    second = load(archive, cache_dir=cache)
    assert same(first, second)
    assert isinstance(second.train_images.base, np.memmap)
    moved = archive.rename(archive.with_name("other-name.bin"))
    third = load(moved, cache_dir=cache)  # known by its content
    assert (third.source, third.digest) == ("other-name.bin", first.digest)
    assert load(moved, cache_dir=cache, color="rgb").train_images.dtype == np.uint8


def test_writing_into_the_arrays_leaves_the_cache_alone(archive: Path, cache: Path) -> None:
    for _ in range(2):
        data = load(archive, cache_dir=cache, color="rgb")
        assert data.train_images.any()
        data.train_images[:] = 0


def test_changed_content_is_decoded_again(tmp_path: Path, cache: Path) -> None:
    files = {name: data.ljust(4000, b"\0") for name, data in image_files().items()}
    folder = write_folder(tmp_path / "folder", files)
    first = load(folder, cache_dir=cache)
    changed = folder / "train" / "cat" / "0000.jpg"
    before = changed.stat()
    data = picture(9).ljust(4000, b"\0")  # of the same size, and as old: so do some copying tools
    changed.write_bytes(data)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changed.stat().st_size == before.st_size
    second = load(folder, cache_dir=cache)
    assert first.digest != second.digest
    (folder / "train" / "cat" / "9999.jpg").write_bytes(data)
    assert len(load(folder, cache_dir=cache).train_labels) == len(first.train_labels) + 1


@pytest.mark.parametrize("damage", ["cut", "gone", "meta", "shape", "format", "noise"])
def test_a_damaged_entry_is_made_again(archive: Path, cache: Path, damage: str) -> None:
    first = load(archive, cache_dir=cache)
    expected = first.train_images.copy()
    (entry,) = folders(cache)
    array, meta = entry / "train_gray.npy", entry / "meta.json"
    content = json.loads(meta.read_text())
    if damage == "cut":
        array.write_bytes(array.read_bytes()[:-1])
    elif damage == "noise":
        array.write_bytes(b"noise")
    elif damage == "gone":
        array.unlink()
    elif damage == "meta":
        meta.write_text("{")
    elif damage == "shape":
        np.save(array, expected[:-1])
    elif damage == "format":
        meta.write_text(json.dumps(content | {"format": 0}))
    second = load(archive, cache_dir=cache)
    np.testing.assert_array_equal(second.train_images, expected)
    assert folders(cache) == [entry]
    assert data_cache.read(entry) is not None


# ------------------------------------------------------------------ interrupted
@pytest.mark.parametrize("at", [0, 3, 5])
def test_an_interrupted_write_leaves_nothing(
    archive: Path, cache: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = np.save, []

    def interrupted(file, array, **options):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) > at:
            file.write(b"half")
            raise KeyboardInterrupt
        save(file, array, **options)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(archive, cache_dir=cache)
    assert folders(cache) == []
    assert len(load(archive, cache_dir=cache).classes) == 3


def test_an_interrupt_while_decoding_leaves_nothing(archive: Path, cache: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(archive, cache_dir=cache, progress=stop)
    assert not cache.exists()


def test_a_full_disk_leaves_the_images_in_memory(
    archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.warns(UserWarning, match=r"cannot be written \(No space left"):
            data = load(archive, cache_dir=cache)
    assert folders(cache) == []
    assert same(data, load(archive, cache_dir=cache))


def test_a_cache_that_cannot_be_made(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be written"):
        data = load(archive, cache_dir=tmp_path / "file")
    assert len(data.train_labels) == 12


CHILD = """
import sys, time
from pathlib import Path
import numpy as np
from rankconv.paper.data import load
if sys.argv[3] == "hang":
    def hang(*_, **__):
        print("writing", flush=True)
        time.sleep(60)
    np.save = hang
print(load(sys.argv[1], cache_dir=Path(sys.argv[2])).digest)
"""


def child(archive: Path, cache: Path, mode: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(archive), str(cache), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_process_is_cleaned_up_after_a_day(archive: Path, cache: Path) -> None:
    with child(archive, cache, "hang") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.kill()
    (left,) = folders(cache)
    assert left.name.startswith(".partial-")
    load(archive, cache_dir=cache)
    assert left in folders(cache)  # it could still be at work
    old = time.time() - 25 * 3600
    os.utime(left, (old, old))
    load(write_tar(archive.with_name("b.tar"), image_files(suffix="png")), cache_dir=cache)
    assert left not in folders(cache)
    assert len(folders(cache)) == 2


# ------------------------------------------------------------------ at the same time
def test_processes_side_by_side(archive: Path, cache: Path) -> None:
    processes = [child(archive, cache, "run") for _ in range(3)]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert outputs == {load(archive, cache_dir=cache).digest + "\n"}
    assert len(folders(cache)) == 1


@pytest.mark.parametrize("damaged", [False, True])
def test_two_that_finish_at_the_same_moment(
    archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    if damaged:
        load(archive, cache_dir=cache)
        (folders(cache)[0] / "test_labels.npy").unlink()
    barrier = threading.Barrier(2)
    publish = data_cache._publish

    def together(temporary: Path, place: Path) -> None:
        barrier.wait(timeout=30)
        publish(temporary, place)

    monkeypatch.setattr(data_cache, "_publish", together)
    results: list[Dataset] = []
    threads = [
        threading.Thread(target=lambda: results.append(load(archive, cache_dir=cache)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert same(*results)
    (entry,) = folders(cache)
    assert data_cache.read(entry) is not None
