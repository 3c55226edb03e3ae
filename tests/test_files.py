"""Files are written whole or not at all, and errors name them as the reader knows them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sprdiff.files import replacing, write_file, write_zip


@pytest.fixture
def old(tmp_path) -> Path:
    path = tmp_path / "a.txt"
    write_file(path, "old")
    return path


def test_a_file_is_replaced_by_the_whole_of_another(old):
    write_file(old, "new")
    assert old.read_text() == "new"
    with replacing(old) as temporary:
        temporary.write_text("newer")
        assert old.read_text() == "new" and temporary.suffix == ".txt"
    assert old.read_text() == "newer"
    assert list(old.parent.iterdir()) == [old]


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(old):
    with pytest.raises(UnicodeEncodeError):
        write_file(old, "\ud800")
    with pytest.raises(RuntimeError), replacing(old) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_errors_name_the_file_that_was_to_be_written_or_the_other_one_they_are_about(tmp_path):
    target = tmp_path / "missing" / "a.txt"
    with pytest.raises(FileNotFoundError) as caught:
        write_file(target, "")
    assert caught.value.filename == str(target)
    with pytest.raises(OSError, match="No space") as caught, replacing(tmp_path / "b.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")  # as write() raises it
    assert caught.value.filename == str(tmp_path / "b.txt")
    with pytest.raises(FileNotFoundError) as caught:
        write_zip(tmp_path / "c.zip", {"nowhere.png": tmp_path / "nowhere.png"})
    assert caught.value.filename == str(tmp_path / "nowhere.png")
    assert list(tmp_path.iterdir()) == []
