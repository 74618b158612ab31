"""Transfers that break: a loopback server that gives parts, refuses them, changes the file, or hangs up half way."""

import gzip
import hashlib
import http.server
import io
import sys
import threading
import zipfile

import numpy as np
import pytest

from datamodules import DSB2018, ISIC2016, DataError, KiTS19, transfer
from datamodules.download import Archive, RemoteFile, fetch
from datamodules.transfer import retrieve
from tests.data.dsb2018.make import make as make_dsb
from tests.data.kits19.make import make as make_kits

DATA = np.random.default_rng(0).integers(0, 256, 700_000, dtype=np.uint8).tobytes()
CHECKSUM = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
HALF = 4 << 16  # whole chunks, so that none is lost


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `cut` bytes after which a connection breaks (once each), `ranges` whether parts are given."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.ranges, self.mark, self.weak = {"a.bin": DATA}, [], True, True, ""
        self.status = 200
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request, client_address):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server, data = self.server, self.server.files.get(self.path[1:])
        server.asked.append(self.headers.get("Range"))
        if data is None or server.status != 200:
            return self.send_error(404 if data is None else server.status)
        version = f'{server.weak}"{hashlib.sha256(data).hexdigest()[:16]}"'
        asked = self.headers.get("Range")
        start = 0
        if asked and server.ranges and self.headers.get("If-Range") == version:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if server.mark:
            self.send_header("ETag", version)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = start + server.cut.pop(0) if server.cut else len(data)
        return self.wfile.write(data[start:end])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "WAIT_SECONDS", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server, folder, checksum=CHECKSUM):
    return retrieve(f"{server.url}a.bin", checksum, folder / "a.bin", progress=False)


def test_a_broken_connection_goes_on_where_it_stopped(server, tmp_path):
    server.cut = [HALF]
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == [None, f"bytes={HALF}-"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_new_process_goes_on_where_the_last_one_stopped(server, tmp_path):
    server.cut = [2 << 16] * transfer.ATTEMPTS
    with pytest.raises(DataError, match=r"a\.bin: cannot be fetched.*524288 bytes are kept in .*run it again"):
        get(server, tmp_path)
    assert not (tmp_path / "a.bin").exists()
    server.asked.clear()
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=524288-"]


@pytest.mark.parametrize("reason", ["no ranges", "no mark", "weak mark"])
def test_without_parts_the_file_starts_again(server, tmp_path, reason):
    server.ranges, server.mark = reason != "no ranges", reason != "no mark"
    server.weak = "W/" if reason == "weak mark" else ""
    server.cut = [HALF]
    assert get(server, tmp_path).read_bytes() == DATA
    assert len(server.asked) == 2


def test_a_file_that_changed_is_fetched_whole(server, tmp_path):
    server.cut = [HALF] * transfer.ATTEMPTS
    server.ranges = False
    with pytest.raises(DataError, match="cannot be fetched"):
        get(server, tmp_path)
    other = DATA[::-1]
    server.ranges, server.files = True, {"a.bin": other}
    checksum = f"sha256:{hashlib.sha256(other).hexdigest()}"
    assert get(server, tmp_path, checksum).read_bytes() == other


def test_a_partial_file_that_is_whole_already_is_taken(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(DATA)
    (tmp_path / "a.bin.partial.version").write_text(f'"{hashlib.sha256(DATA).hexdigest()[:16]}"')
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == [f"bytes={len(DATA)}-"]


def test_a_partial_file_that_is_too_long_starts_again(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(DATA + b"more")
    (tmp_path / "a.bin.partial.version").write_text(f'"{hashlib.sha256(DATA).hexdigest()[:16]}"')
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == [f"bytes={len(DATA) + 4}-", None]


def test_a_partial_file_with_damaged_bytes_is_caught_by_the_checksum(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(bytes(HALF))
    (tmp_path / "a.bin.partial.version").write_text(f'"{hashlib.sha256(DATA).hexdigest()[:16]}"')
    with pytest.raises(DataError, match="the checksum is not"):
        get(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert get(server, tmp_path).read_bytes() == DATA


def test_a_refusal_is_not_tried_again(server, tmp_path):
    server.files = {}
    with pytest.raises(DataError, match=r"404.*Check the network"):
        get(server, tmp_path)
    assert len(server.asked) == 1


def test_a_server_in_trouble_is_tried_again(server, tmp_path):
    server.status = 503
    with pytest.raises(DataError, match="503"):
        get(server, tmp_path)
    assert len(server.asked) == transfer.ATTEMPTS


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["a.zip", "a.nii.gz"])
def test_without_a_published_checksum_the_files_own_are_read(server, tmp_path, name):
    whole = zipped({"a": DATA}) if name == "a.zip" else gzip.compress(DATA)
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 255
    server.files = {name: bytes(broken)}
    with pytest.raises(DataError, match="what came is damaged"):
        retrieve(f"{server.url}{name}", None, tmp_path / name, progress=False)
    assert not (tmp_path / name).exists()
    server.files = {name: whole}
    assert retrieve(f"{server.url}{name}", None, tmp_path / name, progress=False).read_bytes() == whole
    server.files = {}
    assert retrieve(f"{server.url}{name}", None, tmp_path / name, progress=False).read_bytes() == whole


def test_the_progress_bar_starts_at_what_is_there(server, tmp_path, monkeypatch):
    shown = io.StringIO()
    shown.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", shown)
    server.cut = [HALF]
    retrieve(f"{server.url}a.bin", CHECKSUM, tmp_path / "a.bin")
    assert "a.bin:  37%" in shown.getvalue()


def test_dsb2018_is_fetched(server, tmp_path):
    """Its archive holds the folders of the images at the top; the layout wants them in stage1_train."""
    source = make_dsb(tmp_path / "source") / "stage1_train"
    files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*.png")}
    server.files = {"stage1_train.zip": zipped(files)}
    data = DSB2018(root=str(tmp_path / "dsb2018"), download=True)
    published = data.archives[0]
    data.archives = (Archive(f"{server.url}stage1_train.zip", None, published.folder, entries=6),)
    data.prepare_data()
    assert len(data.find_cases()) == 6
    data.archives = (Archive(f"{server.url}stage1_train.zip", None, published.folder, published.entries),)
    with pytest.raises(DataError, match=r"holds 6 entries, 670 are expected"):
        data.fetch(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_archive_that_names_its_folder_is_not_nested(server, tmp_path):
    server.files = {"a.zip": zipped({"inner/a.txt": b"a", "inner/b.txt": b"b"})}
    fetch([Archive(f"{server.url}a.zip", None, "inner", entries=2)], tmp_path / "root", progress=False)
    assert sorted(str(p.relative_to(tmp_path / "root")) for p in (tmp_path / "root").rglob("*.txt")) == [
        "inner/a.txt",
        "inner/b.txt",
    ]


def serve_kits(server, tmp_path, cases):
    """The owner's two places: labels in the repository, CT files under other names in a store of their own."""
    source = make_kits(tmp_path / "source", cases)
    for number in cases:
        folder = source / f"data/case_{number:05d}"
        server.files[f"repository/{folder.name}/segmentation.nii.gz"] = (folder / "segmentation.nii.gz").read_bytes()
        server.files[f"store/master_{number:05d}.nii.gz"] = (folder / "imaging.nii.gz").read_bytes()


def test_kits19_is_fetched_and_an_interrupted_fetch_keeps_what_is_finished(server, tmp_path, monkeypatch):
    monkeypatch.setattr(KiTS19, "label_url", server.url + "repository/case_{:05d}/segmentation.nii.gz")
    monkeypatch.setattr(KiTS19, "image_url", server.url + "store/master_{:05d}.nii.gz")
    serve_kits(server, tmp_path, (0, 61))
    last = server.files.pop("store/master_00061.nii.gz")
    data = KiTS19(root=str(tmp_path / "kits19"), download=True, download_cases=[0, 61])
    with pytest.raises(DataError, match=r"master_00061\.nii\.gz: cannot be fetched"):
        data.prepare_data()
    assert not (tmp_path / "kits19").exists()
    server.files = {"store/master_00061.nii.gz": last}
    data.prepare_data()
    assert [case.name for case in data.checked_cases()] == ["case_00000", "case_00061"]
    assert not list(tmp_path.glob("kits19.*"))


def test_the_addresses_of_kits19():
    """The owner's repository and the store its script `starter_code/get_imaging.py` reads."""
    data = KiTS19()
    assert len(data.download_cases) == 210
    assert data.image_url.format(7) == "https://kits19.sfo2.digitaloceanspaces.com/master_00007.nii.gz"
    assert data.label_url.format(7).startswith("https://raw.githubusercontent.com/neheller/kits19/")
    with pytest.raises(DataError, match=r"download_cases=\[210\]"):
        KiTS19(download_cases=[210])


def test_single_files_land_in_their_places(server, tmp_path):
    fetch([RemoteFile(f"{server.url}a.bin", "x/y.bin", CHECKSUM)], tmp_path / "root", progress=False)
    assert (tmp_path / "root/x/y.bin").read_bytes() == DATA


def test_isic2016_has_an_archive_for_each_part():
    assert [archive.folder.rpartition("_")[0][-8:] for archive in ISIC2016.archives] == [
        "Training", "Training", "rt1_Test", "rt1_Test"]  # fmt: skip
    assert all(archive.url.startswith("https://") for archive in ISIC2016.archives)
