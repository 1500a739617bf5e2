import os

import pytest

from mocoop.errors import DataError
from mocoop.files import atomic_write, file_sha256, read_json, read_text


def test_atomic_write_makes_parents_and_leaves_only_the_file(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with atomic_write(path) as handle:
        handle.write("grün\n")
    assert path.read_text(encoding="utf-8") == "grün\n"
    assert os.listdir(path.parent) == ["b.txt"]
    (path.parent / "plain").touch()
    assert path.stat().st_mode == (path.parent / "plain").stat().st_mode
    with pytest.raises(ValueError, match='got mode "a"'), atomic_write(path, "a"):
        pass


def test_the_old_file_is_whole_until_the_new_one_is_and_stays_if_that_fails(tmp_path):
    path = tmp_path / "f.bin"
    path.write_bytes(b"old")
    with atomic_write(path, "wb") as handle:
        handle.write(b"new")
        handle.flush()
        assert path.read_bytes() == b"old"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as handle:
        handle.write("half")
        1 / 0
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["f.bin"]


def test_sha256_of_a_known_string(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "x.txt").write_bytes('["é"]'.encode(encoding))
        assert read_text(tmp_path / "x.txt") == '["é"]' and read_json(tmp_path / "x.txt") == ["é"]
        (tmp_path / "x.txt").write_bytes("é\r\nb\n".encode(encoding))
        assert read_text(tmp_path / "x.txt") == "é\r\nb\n"
    (tmp_path / "x.txt").write_bytes("é".encode("utf-16")[:3])  # half a text
    with pytest.raises(DataError, match="x.txt: not a readable text file"):
        read_text(tmp_path / "x.txt")
