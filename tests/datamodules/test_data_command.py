"""`python -m lightning_app data`, run in this process."""

import csv
import tarfile
from pathlib import Path

import pytest

import datamodules
from datamodules import DataError
from datamodules.table import all_sets, markdown_table
from lightning_app.data_command import main
from tests.data.decathlon.make import make as make_decathlon
from tests.data.drive.make import make as make_drive

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def test_list_shows_every_set_and_what_is_here(tmp_path, monkeypatch, capsys):
    make_drive(tmp_path / "drive")
    monkeypatch.setenv("SEGMENTATION_DATA", str(tmp_path))
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(cls.__name__ in text for cls in all_sets())
    assert text.count(str(tmp_path)) == 1


def test_verify_prints_a_table_and_writes_a_row_a_case(tmp_path, capsys):
    make_drive(tmp_path)
    code = main(["verify", "drive", "--root", str(tmp_path), "--observer", "2", "--csv", str(tmp_path / "cases.csv")])
    text = capsys.readouterr().out
    assert code == 0
    assert "44 x 43" in text
    assert "no problem found" in text
    rows = list(csv.DictReader((tmp_path / "cases.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 40
    assert rows[0]["shape"] == "44x43"


def test_verify_returns_one_where_something_is_wrong(tmp_path, capsys):
    make_drive(tmp_path)
    (tmp_path / "DRIVE/test/images/05_test.tif").write_bytes(b"broken")
    assert main(["verify", "DRIVE", "--root", str(tmp_path)]) == 1
    assert "05_test.tif" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (["verify", "Nothing"], "'Nothing' is unknown. Choose from ACDC"),
        (["verify", "DRIVE", "--observer", "3"], "observer=3"),
        (["verify", "DRIVE", "--colour", "3"], "DRIVE: .*lists its arguments"),
        (["verify", "DRIVE", "--root", "/nowhere"], "does not exist"),
        (["prepare", "DRIVE"], "only volumes are prepared"),
        (["list", "--all"], "takes no"),
    ],
)
def test_errors_are_one_line(args, match):
    with pytest.raises(ValueError, match=match) as caught:
        main(args)
    assert "\n" not in str(caught.value)


def test_show_lists_facts_and_arguments(capsys):
    assert main(["show", "KiTS19"]) == 0
    text = capsys.readouterr().out
    for part in ("CC BY-NC-SA", "$SEGMENTATION_DATA/kits19", "--exclude_faulty", "--patch_size", "Heller"):
        assert part in text


def test_prepare_fills_the_cache(tmp_path, capsys):
    make_decathlon(tmp_path / "data")
    args = ["prepare", "Decathlon", "--root", str(tmp_path / "data"), "--cache_dir", str(tmp_path / "cache")]
    with pytest.raises(DataError, match="fit into memory"):
        main(args)
    assert main([*args, "--cache", "disk"]) == 0
    assert len(list((tmp_path / "cache").rglob("entry.json"))) == 10


def test_download_refuses_an_existing_folder_and_fetches_a_new_one(tmp_path, monkeypatch, capsys):
    make_decathlon(tmp_path / "source")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "source/Task04_Hippocampus", "Task04_Hippocampus")
    monkeypatch.setattr(
        "datamodules.base.fetch", lambda archives, root: datamodules.download.unpack(tmp_path / "a.tar", root)
    )
    assert main(["download", "Decathlon", "--root", str(tmp_path / "new")]) == 0
    assert "10 cases" in capsys.readouterr().out
    with pytest.raises(DataError, match="exists already"):
        main(["download", "Decathlon", "--root", str(tmp_path / "new")])


def test_the_table_of_the_documentation_is_the_classes(capsys):
    assert main(["table"]) == 0
    assert capsys.readouterr().out == markdown_table()
    assert markdown_table() in DOCS.read_text(encoding="utf-8")
