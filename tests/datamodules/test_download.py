"""Downloads, from a server on this machine: checksums, partial files, hostile archives."""

import functools
import hashlib
import http.server
import io
import stat
import tarfile
import threading
import zipfile

import pytest

from datamodules import DSB2018, ISIC2016, ISIC2018, DataError, Decathlon
from datamodules.download import Archive, fetch, unpack
from tests.data.decathlon.make import make


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def sha256(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_data_set_is_fetched_unpacked_and_trained_on(server, tmp_path):
    folder, url = server
    make(tmp_path / "source")
    path = folder / "Task04_Hippocampus.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "source" / "Task04_Hippocampus", "Task04_Hippocampus")
    data = Decathlon(root=str(tmp_path / "new" / "decathlon"), download=True)
    data.archives = (Archive(f"{url}{path.name}", sha256(path)),)
    data.prepare_data()
    data.setup()
    assert len(data.split_table()) == 10
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["decathlon"]
    path.unlink()
    data.prepare_data()


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    folder, url = server
    (folder / "a.zip").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"a\.zip: the checksum is not sha256:00"):
        fetch([Archive(f"{url}a.zip", "sha256:" + "0" * 64)], tmp_path / "root", progress=False)
    assert not (tmp_path / "root").exists()
    assert list((tmp_path / "root.download").iterdir()) == []


def test_finished_files_are_not_fetched_again_after_a_failure(server, tmp_path):
    folder, url = server
    for name in "ab":
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}.txt", name)
    archives = [Archive(f"{url}{name}.zip", sha256(folder / f"{name}.zip")) for name in "ab"]
    (folder / "b.zip").rename(folder / "hidden")
    with pytest.raises(DataError, match=r"b\.zip: cannot be fetched"):
        fetch(archives, tmp_path / "root", progress=False)
    (folder / "hidden").rename(folder / "b.zip")
    (folder / "a.zip").unlink()
    fetch(archives, tmp_path / "root", progress=False)
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["a.txt", "b.txt"]


def test_without_open_server_the_error_says_where_to_register(tmp_path):
    from datamodules import DRIVE

    with pytest.raises(DataError, match=r"does not serve it openly.*registration"):
        DRIVE(root=str(tmp_path / "x"), download=True).prepare_data()


def test_every_archive_has_a_checksum_or_a_count_where_its_owner_publishes_none():
    for data in (Decathlon(), ISIC2018(), DSB2018(), ISIC2016()):
        assert data.archives
        for archive in data.archives:
            assert archive.url.startswith("https://")
            if archive.checksum is None:
                assert archive.entries > 300
            else:
                assert archive.checksum.partition(":")[0] in ("sha256", "md5")


def zip_with(path, name, data=b"x", link=False):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(name)
        member.compress_type = zipfile.ZIP_DEFLATED
        if link:
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, data)


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt"])
def test_zip_members_that_leave_the_folder_are_refused(tmp_path, name):
    zip_with(tmp_path / "a.zip", name)
    with pytest.raises(DataError, match="leaves the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "in" / "out")
    assert not (tmp_path / "in" / "out").exists()
    assert not list(tmp_path.rglob("evil*"))


def test_zip_links_and_bombs_are_refused(tmp_path):
    zip_with(tmp_path / "link.zip", "link", b"/etc/passwd", link=True)
    with pytest.raises(DataError, match="'link' is a link"):
        unpack(tmp_path / "link.zip", tmp_path / "out")
    zip_with(tmp_path / "bomb.zip", "zeros", bytes(50 << 20))
    with pytest.raises(DataError, match="absurd"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["name", "symlink", "device"])
def test_hostile_tar_files_are_refused(tmp_path, kind):
    member = tarfile.TarInfo("../evil.txt" if kind == "name" else "member")
    if kind == "symlink":
        member.type, member.linkname = tarfile.SYMTYPE, "/etc"
    elif kind == "device":
        member.type = tarfile.CHRTYPE
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(member, io.BytesIO(b""))
    with pytest.raises(DataError, match=r"leaves the folder|is a link or device"):
        unpack(tmp_path / "a.tar", tmp_path / "in" / "out")
    assert not (tmp_path / "in" / "out").exists()


def test_a_truncated_archive_is_refused(tmp_path):
    zip_with(tmp_path / "a.zip", "a.txt", b"y" * 1000)
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:40])
    with pytest.raises(DataError, match=r"a\.zip: cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
