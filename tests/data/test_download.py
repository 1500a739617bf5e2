"""Downloading a file, and extracting an archive that is not trusted."""

import hashlib
import os
import sys
import tarfile
import types

import pytest

from mocoop.data import download as module
from mocoop.data.download import download, extract, fetch
from mocoop.data.sources import SourceFile
from mocoop.errors import DataError
from tests.data.archives import make_tar, make_zip

BODY = bytes(range(256)) * 4000
MD5 = hashlib.md5(BODY).hexdigest()


def source(*urls, name="a.bin", gives=("a",), md5=MD5, **more) -> SourceFile:
    return SourceFile(name, gives=gives, urls=urls, md5=md5, **more)


@pytest.mark.parametrize(
    "faults, asked",
    [
        ({}, [None]),
        ({"cuts": 2, "cut_at": 300_000}, [None, "bytes=300000-", "bytes=600000-"]),
        ({"cuts": 1, "cut_at": 300_000, "ranges": False}, [None, "bytes=300000-"]),  # which it answers with all
    ],
)
def test_a_file_arrives_whole_and_leaves_nothing_else(server, tmp_path, faults, asked):
    download(source(server.put("/a.bin", BODY, **faults)), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert [wanted for _, wanted in server.requests] == asked


@pytest.mark.parametrize("changed", [False, True])
def test_a_later_run_resumes_what_an_earlier_one_left_unless_the_file_changed(server, tmp_path, changed):
    url, part = server.put("/a.bin", BODY, etag='"old"', cuts=1, cut_at=200_000), tmp_path / "a.bin.part"
    with pytest.raises(EOFError):
        module._transfer(url, part, (5, 5))
    assert part.stat().st_size == 200_000
    body = BODY[::-1] if changed else BODY
    server.put("/a.bin", body, etag='"new"' if changed else '"old"')
    download(source(url, md5=hashlib.md5(body).hexdigest()), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == body
    assert server.requests[1] == ("/a.bin", "bytes=200000-")


@pytest.mark.parametrize("more", [b"", b"more"])
def test_a_part_that_is_whole_is_recognised_and_a_longer_one_thrown_away(server, tmp_path, more):
    url, part = server.put("/a.bin", BODY), tmp_path / "a.bin.part"
    fetch(url, part)
    part.write_bytes(part.read_bytes() + more)
    download(source(url), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert server.requests[1] == ("/a.bin", f"bytes={len(BODY) + len(more)}-")
    assert len(server.requests) == 2 or more


def test_a_connection_that_always_ends_early_is_given_up_and_kept(server, tmp_path):
    url = server.put("/a.bin", BODY, ranges=False, cuts=10**6, cut_at=1000)
    with pytest.raises(DataError, match="a.bin could not be downloaded .*after 1,000 bytes"):
        download(source(url), tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists() and (tmp_path / "a.bin.part").stat().st_size == 1000


def test_a_stalled_connection_is_taken_up_again(server, tmp_path):
    url = server.put("/a.bin", BODY, stalls=1, stall=0.5)
    fetch(url, tmp_path / "a.bin", timeout=(5, 0.2))
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert len(server.requests) == 2


@pytest.mark.parametrize("length", [True, False])
def test_mirrors_are_tried_in_order_and_a_wrong_hash_counts_as_a_failure(server, tmp_path, length):
    urls = [
        server.put("/gone", b"", status=404),
        server.put("/broken", b"", status=503),
        server.put("/corrupt", BODY[:-1] + b"x", length=length),
        server.put("/truncated", BODY[:-1], length=length),
        server.put("/good", BODY),
        server.put("/never", BODY),
    ]
    download(source(*urls), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    asked = list(dict.fromkeys(path for path, _ in server.requests))
    assert asked == ["/gone", "/broken", "/corrupt", "/truncated", "/good"]


def test_every_failure_is_reported(server, tmp_path):
    urls = [server.put("/gone", b"", status=404), server.put("/corrupt", b"x"), "http://127.0.0.1:9/closed"]
    with pytest.raises(DataError) as caught:
        download(source(*urls), tmp_path / "a.bin")
    message = str(caught.value)
    assert "HTTP status 404" in message and f"expected {MD5}" in message and "ConnectionError" in message
    assert "\n" not in message
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize(
    "name, gives, body, good",
    [
        ("a.zip", ("a",), make_zip({"a/x.txt": b"x"}), True),
        ("a.zip", ("a",), b"<!DOCTYPE html><html>Sign in", False),
        ("a.tar.gz", ("a",), b"\x1f\x8b garbage", False),
        ("s.json", (), b'{"train": []}', True),
        ("s.json", (), b"<html>quota", False),
        ("l.mat", (), b"MATLAB 5.0", True),
        ("l.mat", (), b"\n<HTML>no", False),
    ],
)
def test_a_web_page_in_place_of_a_file_without_hash_is_seen(server, tmp_path, name, gives, body, good):
    file = SourceFile(name, gives=gives, urls=(server.put("/f", body),))
    if good:
        download(file, tmp_path / name)
        assert (tmp_path / name).read_bytes() == body
    else:
        with pytest.raises(DataError, match="its content is no"):
            download(file, tmp_path / name)
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def drive(monkeypatch):
    """gdown as a stand-in that delivers what `drive.files` holds."""
    fake = types.ModuleType("gdown")
    fake.files = {}

    def give(id, output, **options):
        if id not in fake.files:
            raise RuntimeError("Cannot retrieve\nthe public link")
        with open(output, "wb") as file:
            file.write(fake.files[id])
        return output

    fake.download = give
    monkeypatch.setitem(sys.modules, "gdown", fake)
    return fake


def test_drive_is_asked_after_the_urls_and_its_refusal_is_one_line(server, tmp_path, drive):
    drive.files["ID"] = BODY
    download(source(server.put("/gone", b"", status=404), drive="ID"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    with pytest.raises(DataError, match="Google Drive NONE: Cannot retrieve the public link"):
        download(source(drive="NONE"), tmp_path / "b.bin")


FILES = {"top/a.txt": b"a", "top/sub/b.txt": b"b" * 3000, "top/ü ß.txt": b"c", "other.txt": b"o"}


def tree(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def box(tmp_path):
    """A folder with a secret beside the place to extract to; the test fails if anything outside that place changes."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_bytes(b"secret")
    yield tmp_path
    assert tree(outside) == {"secret.txt": b"secret"}
    assert {path.name for path in tmp_path.iterdir()} <= {"outside", "inside", "archive"}


def put(box, content):
    (box / "archive").write_bytes(content)
    return box / "archive"


@pytest.mark.parametrize(
    "content", [make_zip(FILES), make_tar(FILES), make_tar(FILES, mode="w"), make_tar(FILES, mode="w:xz")]
)
def test_every_kind_is_told_by_its_content(box, content):
    extract(put(box, content), box / "inside/all")
    assert tree(box / "inside/all") == FILES
    assert os.stat(box / "inside/all/other.txt").st_mode & 0o777 == 0o644
    extract(put(box, content), box / "inside/one", strip="top")  # one folder, without its name
    assert tree(box / "inside/one") == {"a.txt": b"a", "sub/b.txt": b"b" * 3000, "ü ß.txt": b"c"}


def test_what_macos_adds_is_left_out(box):
    extract(put(box, make_zip({"__MACOSX/._a": b"", "d/._a": b"", "d/a": b"a"})), box / "inside")
    assert tree(box / "inside") == {"d/a": b"a"}


OUTSIDE = ["../outside/secret.txt", "/{box}/outside/secret.txt", "a/../../outside/x", "..\\outside\\x"]


@pytest.mark.parametrize("name", [*OUTSIDE, "C:\\x", "top/..", "\\x"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_path_out_of_the_folder_is_refused(box, make, name):
    with pytest.raises(DataError, match="archive: refused, its member .* leaves the folder"):
        extract(put(box, make({"ok": b"", name.format(box=box): b"overwritten"})), box / "inside")


LINKS = [
    ("l", "{box}/outside", tarfile.SYMTYPE),
    ("l", "../outside", tarfile.SYMTYPE),
    ("l", "{box}/outside/secret.txt", tarfile.LNKTYPE),
    ("a/l", "../../outside/secret.txt", tarfile.SYMTYPE),
    ("l", "/etc/passwd", tarfile.SYMTYPE),
    ("l", "nowhere", tarfile.SYMTYPE),
    ("l", ".", tarfile.SYMTYPE),
]


@pytest.mark.parametrize("name, target, kind", LINKS)
def test_a_link_out_of_the_archive_is_refused(box, name, target, kind):
    hostile = make_tar({"l/secret.txt": b"overwritten"}, [(name, target.format(box=box), kind)])
    with pytest.raises(DataError, match="refused, its member .* is a link to"):
        extract(put(box, hostile), box / "inside")


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_device_is_refused_and_a_link_in_a_zip(box, kind):
    with pytest.raises(DataError, match="neither a file nor a folder"):
        extract(put(box, make_tar({}, [("device", "", kind)])), box / "inside")
    with pytest.raises(DataError, match="'l' is a link"):
        extract(put(box, make_zip({}, {"l": str(box / "outside")})), box / "inside")


@pytest.mark.parametrize(
    "name, target, kind", [("./d/l", "../top/a.txt", tarfile.SYMTYPE), ("l", "./top/a.txt", tarfile.LNKTYPE)]
)
def test_a_link_within_the_archive_becomes_a_copy(box, name, target, kind):
    files = {f"./{path}": content for path, content in FILES.items()}
    place = "more" if kind == tarfile.LNKTYPE else "links"
    extract(put(box, make_tar(files, **{place: [(name, target, kind)]})), box / "inside")
    made = box / "inside" / name
    assert made.read_bytes() == b"a" and not made.is_symlink() and made.stat().st_nlink == 1
    assert tree(box / "inside").items() >= FILES.items()


BIG = make_tar({"x": os.urandom(65_000)}, mode="w")


@pytest.mark.parametrize("content", [make_zip(FILES), make_tar(FILES), BIG])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_archive_is_named(box, content, keep):
    with pytest.raises(DataError, match="archive: cannot be extracted"):
        extract(put(box, content[: int(len(content) * keep)]), box / "inside")


def test_what_is_no_archive_is_named(box):
    corrupt = bytearray(make_zip({"a.txt": b"a" * 5000 + os.urandom(5000)}))
    corrupt[len(corrupt) // 2] ^= 0xFF
    for content in (b"", b"no archive at all", b"\x1f\x8bgarbage", b"PK\x03\x04garbage", bytes(corrupt)):
        with pytest.raises(DataError, match="archive: cannot be extracted"):
            extract(put(box, content), box / "inside")
