"""Files whole or not at all, tables that read back as written, documents that cannot blow up."""

import csv
import errno
import time

import pytest

from datamodules import splits
from lightning_app import files
from lightning_app.errors import UserError
from lightning_app.files import (
    DiskFull,
    append_csv,
    load_yaml,
    read_csv,
    write_atomic,
    write_csv,
    write_text,
)

NAMES = [
    "plain",
    "a,b",
    'say "x"',
    "two\nlines",
    "=1+1",
    "-2+cmd|' /C calc'!A0",
    "@x",
    "+1",
    "'=x",
    "'",
    " ",
    "ä",
    "-0.5",
]


def test_a_write_that_breaks_off_leaves_the_old_file_and_no_litter(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")

    def breaks(part):
        part.write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_atomic(path, breaks)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_staged_lies_beside_its_place_with_its_ending(tmp_path):
    seen = []
    write_atomic(tmp_path / "deep" / "a.npz", lambda part: seen.append(part) or part.write_bytes(b"x"))
    assert seen[0].parent == tmp_path / "deep"
    assert seen[0].suffix == ".npz"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_path_need_room_and_cure(tmp_path, number):
    def full(part):
        part.write_text("half")
        raise OSError(number, "no space")

    with pytest.raises(DiskFull, match=r"a\.ckpt: 5\.0 MB needed, .* MB free .* make room") as caught:
        write_atomic(tmp_path / "a.ckpt", full, needed=5_000_000)
    assert isinstance(caught.value, UserError)
    assert not list(tmp_path.iterdir())


def test_a_row_that_finds_no_room_names_the_table(tmp_path):
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"metrics\.csv"):
        append_csv(tmp_path / "metrics.csv", {"a": 1}, ["a"])


def test_names_come_back_and_no_cell_is_a_formula(tmp_path):
    path = write_csv(tmp_path / "a.csv", [{"case": name, "value": -0.1} for name in NAMES])
    assert [row["case"] for row in read_csv(path)] == NAMES
    assert {row["value"] for row in read_csv(path)} == {"-0.1"}
    with path.open(newline="") as file:
        raw = [row[0] for row in csv.reader(file)][1:]
    assert all(text[0] not in "=@" for text in raw)
    assert not any(text.startswith("-2+cmd") for text in raw)


def test_split_files_are_read_by_the_rule_by_which_tables_are_written():
    assert splits.FORMULA_STARTS == files.FORMULA_STARTS  # twice: reports read files without the data sets' libraries


def test_floats_are_written_in_full_and_gaps_are_empty(tmp_path):
    value = 0.1 + 0.2
    rows = read_csv(write_csv(tmp_path / "a.csv", [{"a": value, "b": float("nan")}, {"a": 1}], ["a", "b"]))
    assert float(rows[0]["a"]) == value
    assert [row["b"] for row in rows] == ["", ""]


def test_half_a_row_is_left_out_and_the_next_one_is_whole(tmp_path):
    path = write_csv(tmp_path / "a.csv", [{"step": 1, "loss": 0.25}, {"step": 2, "loss": 0.5}])
    whole = path.read_text()
    for end in range(len("step,loss\n1,0.25\n"), len(whole)):
        path.write_text(whole[:end])
        assert [row["step"] for row in read_csv(path, appended=True)] == ["1"]
        if not whole[:end].endswith("\n"):
            with pytest.raises(UserError, match=r"a\.csv: cut off in row"):
                read_csv(path)


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n", 'a\n"x\n', "a\n1"])
def test_a_damaged_table_is_named(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=r"a\.csv"):
        read_csv(tmp_path / "a.csv")


def test_no_file_has_no_rows(tmp_path):
    assert read_csv(tmp_path / "a.csv") == []


def laughs(levels: int, inside: str = "lol") -> str:
    lines = [f"a0: &a0 [{inside}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [laughs(30), "a: &a [*a]", "a: &a {b: *a}"])
def test_aliases_that_blow_up_are_refused_at_once(text):
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"bomb\.yaml: its aliases"):
        load_yaml(text, "bomb.yaml")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("text", ["a: [", "[" * 5000, "a: \x01", "a: 2001-99-99"])
def test_what_is_no_yaml_is_told_in_one_line(text):
    with pytest.raises(UserError, match=r"bomb\.yaml: no YAML") as caught:
        load_yaml(text, "bomb.yaml")
    assert "\n" not in str(caught.value)


def test_plain_documents_and_modest_aliases_are_read():
    assert load_yaml("base: &b {lr: 0.1}\nother: {<<: *b, n: [1, 2]}\nnone:", "x") == {
        "base": {"lr": 0.1},
        "other": {"lr": 0.1, "n": [1, 2]},
        "none": None,
    }
    assert load_yaml("", "x") is None
