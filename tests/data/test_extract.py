import os
import tarfile

import pytest

from mocoop.data.download import extract
from mocoop.errors import DataError
from tests.data.archives import make_tar, make_zip

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
    extract(put(box, content), box / "inside")
    assert tree(box / "inside") == FILES
    assert os.stat(box / "inside/other.txt").st_mode & 0o777 == 0o644


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_strip_keeps_one_folder_without_its_name(box, make):
    extract(put(box, make(FILES)), box / "inside", strip="top")
    assert tree(box / "inside") == {"a.txt": b"a", "sub/b.txt": b"b" * 3000, "ü ß.txt": b"c"}


def test_what_macos_adds_is_left_out(box):
    extract(put(box, make_zip({"__MACOSX/._a": b"", "d/._a": b"", "d/a": b"a"})), box / "inside")
    assert tree(box / "inside") == {"d/a": b"a"}


@pytest.mark.parametrize(
    "name",
    [
        "../outside/secret.txt",
        "/{box}/outside/secret.txt",
        "a/../../outside/x",
        "..\\outside\\x",
        "C:\\x",
        "top/..",
        "\\x",
    ],
)
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
def test_a_device_is_refused(box, kind):
    with pytest.raises(DataError, match="neither a file nor a folder"):
        extract(put(box, make_tar({}, [("device", "", kind)])), box / "inside")


def test_a_link_in_a_zip_is_refused(box):
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


@pytest.mark.parametrize("content", [make_zip(FILES), make_tar(FILES), make_tar(FILES, mode="w")])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_archive_is_named(box, content, keep):
    big = make_tar({"x": os.urandom(20_000), **FILES}, mode="w") if content[:2] not in (b"PK", b"\x1f\x8b") else content
    with pytest.raises(DataError, match="archive: cannot be extracted"):
        extract(put(box, big[: int(len(big) * keep) if big is content else 15_000]), box / "inside")


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x1f\x8bgarbage", b"PK\x03\x04garbage"])
def test_what_is_no_archive_is_named(box, content):
    with pytest.raises(DataError, match="archive: cannot be extracted"):
        extract(put(box, content), box / "inside")


def test_a_corrupt_member_is_noticed(box):
    content = bytearray(make_zip({"a.txt": b"a" * 5000 + os.urandom(5000)}))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(DataError, match="cannot be extracted"):
        extract(put(box, bytes(content)), box / "inside")
