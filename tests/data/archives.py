"""Archives for the tests, honest and hostile, as bytes."""

import io
import stat
import tarfile
import zipfile


def make_zip(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return file.getvalue()


def make_tar(files: dict[str, bytes], links=(), mode: str = "w:gz", more=()) -> bytes:
    """`links` are (name, target, tarfile type) in front of the files; `more` are behind, as tar puts hard links."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        _add_links(archive, links)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        _add_links(archive, more)
    return file.getvalue()


def _add_links(archive: tarfile.TarFile, links) -> None:
    for name, target, kind in links:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        archive.addfile(info)
