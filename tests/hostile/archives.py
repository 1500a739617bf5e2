"""Archives of data sets; `tests/data/test_download.py` looks at extraction in detail."""

import tarfile

from tests.data.archives import make_tar, make_zip

NAMES = ("../outside/secret.jpg", "/etc/x", "a/../../outside/x", "..\\outside\\x", "C:\\x", "\\x")
LINKS = [("l", "../outside", tarfile.SYMTYPE), ("l", "/etc/passwd", tarfile.LNKTYPE), ("l", "nowhere", tarfile.SYMTYPE)]
DEVICES = (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)


def add_entries(add) -> None:
    for name in NAMES:
        add("archive", f"tar with {name!r}", make_tar({name: b"overwritten"}))
        add("archive", f"zip with {name!r}", make_zip({name: b"overwritten"}))
    for link in LINKS:
        add("archive", f"tar with a link to {link[1]}", make_tar({"l/secret.jpg": b"overwritten"}, [link]))
    add("archive", "zip with a link", make_zip({}, {"l": "../outside"}))
    for kind in DEVICES:
        add("archive", f"tar with a device of type {kind!r}", make_tar({}, [("device", "", kind)]))
    for name, content in {"empty": b"", "text": b"no archive", "cut": make_zip({"a": b"b" * 1000})[:60]}.items():
        add("archive", name, content)
