"""The bytes of a log: bounded, unpacked where it is packed, and as text."""

from __future__ import annotations

import io
import lzma
import stat
import zipfile

import pyarrow as pa

from hmmdyn.errors import LogError
from hmmdyn.places import Place

LARGEST_FILE = 256 * 2**20  # bytes, also when unpacked; what is larger is no log
_PACKED = {  # by the first bytes
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\x04\x22\x4d\x18": "lz4",
}
_XZ = b"\xfd7zXZ\x00"
_ZIP = b"PK\x03\x04"
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


def require_readable(path: Place) -> None:
    """Refuse what is no regular file (a pipe would be waited for), and what is too large.

    Raises
    ------
    LogError, OSError
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise LogError("it is not a regular file")
    if status.st_size > LARGEST_FILE:
        raise LogError(f"it is larger than {LARGEST_FILE // 2**20} MiB")


def read_content(path: Place) -> bytes:
    """Return the bytes of a file, unpacked (gz, zst, bz2, lz4, xz, or a zip file of one file).

    Raises
    ------
    LogError
        It is no regular file, it or what is packed in it is too large, or it is damaged.
    OSError
    """
    require_readable(path)
    data = path.read_bytes()
    if not data:
        raise LogError("it is empty")
    kind = next((kind for start, kind in _PACKED.items() if data.startswith(start)), None)
    try:
        if kind is not None:
            return _bounded(pa.CompressedInputStream(pa.BufferReader(data), kind))
        if data.startswith(_XZ):
            return _bounded(lzma.LZMAFile(io.BytesIO(data)))
        if data.startswith(_ZIP) and path.suffix.lower() == ".zip":
            return _only_member(data)
    except (OSError, EOFError, ValueError, lzma.LZMAError, pa.ArrowException) as error:
        raise LogError(f"it cannot be unpacked ({error})") from None
    return data


def decoded(data: bytes) -> str:
    """Return the text of a log: UTF-8, or UTF-16 where a byte order mark says so.

    Raises
    ------
    UnicodeDecodeError
    """
    if data.startswith(_BYTE_ORDER_MARKS):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _bounded(stream: pa.NativeFile | lzma.LZMAFile) -> bytes:
    data: bytes = stream.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise LogError(f"unpacked it is larger than {LARGEST_FILE // 2**20} MiB")
    return data


def _only_member(data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if len(members) != 1:
                raise LogError(f"it is a zip archive of {len(members)} files: unpack it")
            with archive.open(members[0]) as stream:
                packed = stream.read(LARGEST_FILE + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise LogError(f"it cannot be unpacked ({error})") from None
    if len(packed) > LARGEST_FILE:
        raise LogError(f"unpacked it is larger than {LARGEST_FILE // 2**20} MiB")
    return packed
