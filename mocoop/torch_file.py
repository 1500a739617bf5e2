"""Looking at a file written by `torch.save` or `torch.jit.save` before it is read.

It is a zip archive with pickles among its members, or, as torch once wrote, pickles one after another.
"""

import io
import os
import pickle
import zipfile

from mocoop.pickle_check import check_pickle

LEGACY_PICKLES = 5  # magic number, protocol, system, the object, names of its storages
EXPANSION = 4  # torch compresses nothing but code
SMALL = 1 << 26  # bytes that any archive may expand to


def check_torch_file(path: str | os.PathLike) -> None:
    """Raise ValueError, zipfile.BadZipFile or pickle.UnpicklingError for damage, and for what would exhaust memory."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            file.seek(0)
            for _ in range(LEGACY_PICKLES):
                check_pickle(file)
            return
        with zipfile.ZipFile(file) as archive:
            check_archive(archive, os.fstat(file.fileno()).st_size)
            if (damaged := archive.testzip()) is not None:  # torch reads tensors without looking at their checksums
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """`check_torch_file` of an open archive whose file has `size` bytes."""
    expanded = sum(info.file_size for info in archive.infolist())
    if expanded > SMALL + EXPANSION * size:
        raise ValueError(f"its {size:,} bytes expand to {expanded:,}")
    pickles = [info for info in archive.infolist() if info.filename.endswith(".pkl")]
    if not pickles:
        raise pickle.UnpicklingError("it holds no pickle")
    for info in pickles:
        check_pickle(io.BytesIO(archive.read(info)))
