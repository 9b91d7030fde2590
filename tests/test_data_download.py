"""Fetching CIFAR-10, against a server in the test."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_archives import python_files, write_tar
from rankconv.paper import data_download
from rankconv.paper.data import DataError, download, load


class Server(ThreadingHTTPServer):
    daemon_threads = True
    content = b""
    cut = 0
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/cifar-10-python.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.path != "/cifar-10-python.tar.gz":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: len(self.server.content) - self.server.cut])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("RANKCONV_DATA", raising=False)
    archive = write_tar(tmp_path / "source.tar.gz", python_files()[0])
    with Server(("127.0.0.1", 0), Handler) as running:
        running.content = archive.read_bytes()
        digest = hashlib.sha256(running.content).hexdigest()
        monkeypatch.setattr(data_download, "CIFAR10_SHA256", digest)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_download_checks_reports_and_keeps(server: Server, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        path = download(destination=folder, progress=lambda *c: calls.append(c), url=server.url)
        assert path == folder / "cifar-10-python.tar.gz"
        assert path.read_bytes() == server.content
    assert server.requests == 1  # the second time it was there
    total = len(server.content)
    assert calls[-1] == (total, total)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert len(load(path, cache_dir=tmp_path / "cache").train_labels) == 30


def test_load_finds_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_download, "cache_root", lambda given: given or tmp_path / "home")
    download(url=server.url)
    assert load(cache_dir=tmp_path / "home").source == "cifar-10-python.tar.gz"


def test_a_wrong_checksum_leaves_no_file(server: Server, tmp_path: Path) -> None:
    right, server.content = server.content, server.content[:-1] + b"x"
    with pytest.raises(DataError, match=r"SHA-256 is not .*; try again"):
        download(destination=tmp_path / "to", url=server.url)
    assert files(tmp_path / "to") == []
    server.content = right
    path = download(destination=tmp_path / "to", url=server.url)
    path.write_bytes(b"changed later")
    assert download(destination=tmp_path / "to", url=server.url).read_bytes() == right


def test_a_cut_connection_leaves_no_file(server: Server, tmp_path: Path) -> None:
    server.cut = 1000
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz.*RANKCONV_DATA"):
        download(destination=tmp_path / "to", url=server.url)
    assert files(tmp_path / "to") == []


def test_ctrl_c_leaves_no_file(server: Server, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(destination=tmp_path / "to", progress=stop, url=server.url)
    assert files(tmp_path / "to") == []


def test_no_network_and_no_such_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"404.*try again later, or fetch it with a browser"):
        download(destination=tmp_path / "to", url=server.url + "x")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_address[1]
    with pytest.raises(DataError, match="cannot be reached; check the network connection"):
        download(destination=tmp_path / "to", url=f"http://127.0.0.1:{port}/a")
    assert files(tmp_path / "to") == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written .*another destination"):
        download(destination=tmp_path / "file", url=server.url)


def test_the_official_address_and_checksum() -> None:
    assert data_download.CIFAR10_URL == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert data_download.CIFAR10_SHA256.startswith("6d958be0745778")
    assert len(data_download.CIFAR10_SHA256) == 64
