"""The directory of a zip file, read strictly.

Readers of zip files differ in what they forgive, so that one file can hold different things for
different readers, and a small file can claim to be a huge one. Programs that write checkpoints
need none of that forgiveness: here every byte of the file must belong to exactly one entry, to the
directory or to the record at the end, and what is said twice must be said alike.

References
----------
PKWARE, APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from hmmdyn.checkpoints.formats.byte_ranges import (
    CHUNK,
    ByteRange,
    CheckedPart,
    Part,
    ReadAhead,
    read_bytes,
)
from hmmdyn.checkpoints.formats.checksums import crc32
from hmmdyn.errors import CheckpointError

STORED = 0
DEFLATED = 8

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LENGTHS = struct.Struct("<HHH")  # of name, extra field and comment, within the central header
_LENGTHS_AT = 28
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<4sIQI")

_IN_ZIP64 = 0xFFFFFFFF  # a 32-bit field whose value stands in the zip64 extra field
_ZIP64_ID = 1
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_SIZES_FOLLOW = 1 << 3  # in a data descriptor behind the data
_UTF8 = 1 << 11

_MOST_ENTRIES = 1_000_000
_LONGEST_DIRECTORY = 1 << 27  # bytes
_MOST_INFLATION = 1032  # times; what deflate reaches at best

_ANEW = "Copy or save the file anew."


@dataclass(frozen=True)
class ZipEntry:
    """Where the data of an entry lies; ``size`` is that of the data once inflated."""

    name: str
    method: int
    crc: int
    compressed_size: int
    size: int
    offset: int


def read_directory(file: ByteRange) -> dict[str, ZipEntry]:
    """Read and check the directory of a zip file: its entries by name, in the order stored.

    Raises
    ------
    CheckpointError
        The file is truncated, damaged, encrypted, or contradicts itself.
    """
    file = ReadAhead(file)
    headings, directory_start = _read_headings(file)
    in_order = sorted(headings, key=lambda heading: heading.start)
    starts = [heading.start for heading in in_order] + [directory_start]
    if starts[0] != 0:
        raise CheckpointError(f"{starts[0]:,} bytes stand before its zip data. {_ANEW}")
    entries: dict[str, ZipEntry] = {}
    for heading, following in zip(in_order, starts[1:], strict=True):
        entries[heading.name] = _located(file, heading)
        _require_nothing_between(file, heading, entries[heading.name], following)
    if len(entries) < len(headings):
        raise CheckpointError(
            "it is damaged or forged: two of its zip entries share a name, and readers would "
            f"differ in which one they take. {_ANEW}"
        )
    return {heading.name: entries[heading.name] for heading in headings}


def entry_names(file: ByteRange) -> list[str]:
    """Read the names in the directory of a zip file, to tell what it is; nothing else is checked.

    Raises
    ------
    CheckpointError
        The directory is truncated or damaged.
    """
    file = ReadAhead(file)
    count, start, end = _find_directory(file)
    directory = read_bytes(file, start, end - start, "its zip directory")
    names = []
    at = 0
    for _ in range(count):
        name_at = at + _CENTRAL.size
        if name_at > len(directory) or not directory.startswith(b"PK\1\2", at):
            raise CheckpointError(f"it is damaged: its zip directory is cut short. {_ANEW}")
        lengths = _LENGTHS.unpack_from(directory, at + _LENGTHS_AT)
        names.append(directory[name_at : name_at + lengths[0]].decode("utf-8", "replace"))
        at = name_at + sum(lengths)
    return names


def stored_part(file: ByteRange, entry: ZipEntry) -> Part:
    """Return the bytes of an entry that is not compressed.

    PyTorch can be told to leave checksums out (``set_crc32_options``), and then stores 0.

    Raises
    ------
    CheckpointError
        The entry is compressed.
    """
    what = f"entry {entry.name!r}"
    if entry.method != STORED or entry.size != entry.compressed_size:
        raise CheckpointError(
            f"{what} is compressed. PyTorch stores weights as they are, so another program "
            "has packed this file again. Unpack it and use the file inside, or save it anew."
        )
    if entry.crc == 0:
        return Part(file, entry.offset, entry.size, what)
    return CheckedPart(file, entry.offset, entry.size, what, entry.crc)


@dataclass(frozen=True)
class _Heading:
    """What the directory says about an entry; ``start`` is where its local header is."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    start: int


def _read_headings(file: ByteRange) -> tuple[list[_Heading], int]:
    """Return what the directory says of the entries, and where it starts."""
    count, start, end = _find_directory(file)
    directory = read_bytes(file, start, end - start, "its zip directory")
    return list(_headings(directory, count)), start


def _find_directory(file: ByteRange) -> tuple[int, int, int]:
    """Return the number of entries, and where the directory starts and ends."""
    if file.size < _END.size:
        raise _no_end(file)
    end = file.size - _END.size
    fields = _END.unpack(read_bytes(file, end, _END.size, "its end"))
    signature, disk, first_disk, here, count, size, start, comment = fields
    if signature != b"PK\5\6":
        raise _no_end(file)
    if disk or first_disk or here != count or comment:
        raise CheckpointError(f"it is damaged: the record at its end contradicts itself. {_ANEW}")
    if end >= _LOCATOR64.size:
        locator = read_bytes(file, end - _LOCATOR64.size, _LOCATOR64.size, "its end")
        if locator.startswith(b"PK\6\7"):
            count, size, start, end = _find_directory64(file, locator, (count, size, start), end)
    if start + size != end:
        raise CheckpointError(
            f"it is damaged: its zip directory should take bytes {start:,} to {start + size:,}, "
            f"and the record that says so is at byte {end:,}. Bytes are missing or were put "
            f"before it. {_ANEW}"
        )
    if count > _MOST_ENTRIES or size > _LONGEST_DIRECTORY or size < count * _CENTRAL.size:
        raise CheckpointError(
            f"its zip directory claims {count:,} entries in {size:,} bytes, which is no checkpoint."
        )
    return count, start, end


def _find_directory64(
    file: ByteRange, locator: bytes, found: tuple[int, int, int], end: int
) -> tuple[int, int, int, int]:
    _, disk, start64, disks = _LOCATOR64.unpack(locator)
    expected = end - _LOCATOR64.size - _END64.size
    if disk or disks != 1 or start64 != expected:
        raise CheckpointError(f"it is damaged: its zip64 locator points elsewhere. {_ANEW}")
    fields = _END64.unpack(read_bytes(file, expected, _END64.size, "its zip64 end"))
    signature, length, _, _, disk, first_disk, here, count, size, start = fields
    agree = all(
        short in (long, limit)
        for short, long, limit in zip(
            found, (count, size, start), (0xFFFF, _IN_ZIP64, _IN_ZIP64), strict=True
        )
    )
    if (
        signature != b"PK\6\6"
        or length != _END64.size - 12
        or disk
        or first_disk
        or here != count
        or not agree
    ):
        raise CheckpointError(f"it is damaged: its zip64 end record contradicts itself. {_ANEW}")
    return count, size, start, expected


def _no_end(file: ByteRange) -> CheckpointError:
    tail = min(file.size, 1 << 16)
    position = read_bytes(file, file.size - tail, tail, "its end").rfind(b"PK\5\6")
    if position < 0 or tail - position < _END.size:
        return CheckpointError(
            "it is truncated: the record at the end of a zip file is missing. Was training "
            f"stopped while it was saved? {_ANEW}"
        )
    extra = tail - position - _END.size
    return CheckpointError(
        f"{extra:,} bytes follow the end of its zip data, which no program that writes "
        f"checkpoints leaves there. {_ANEW}"
    )


def _headings(directory: bytes, count: int) -> Iterator[_Heading]:
    at = 0
    for _ in range(count):
        fields = directory[at : at + _CENTRAL.size]
        if len(fields) < _CENTRAL.size or not fields.startswith(b"PK\1\2"):
            raise CheckpointError(f"it is damaged: its zip directory is cut short. {_ANEW}")
        (_, _, _, flags, method, _, _, crc, compressed_size, size, *lengths, disk, _, _, start) = (
            _CENTRAL.unpack(fields)
        )
        name_length, extra_length, comment_length = lengths
        at += _CENTRAL.size
        raw_name = directory[at : at + name_length]
        extra = directory[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        name = _decoded(raw_name, flags)
        size, compressed_size, start = _from_zip64(name, (size, compressed_size, start), extra)
        if disk:
            raise CheckpointError(f"it is damaged: entry {name!r} is on another disk. {_ANEW}")
        if flags & _ENCRYPTED:
            raise CheckpointError(
                f"its entry {name!r} is encrypted. Save or unpack the file without a password."
            )
        if method not in (STORED, DEFLATED):
            raise CheckpointError(
                f"its entry {name!r} is compressed by method {method}, which no program that "
                f"writes checkpoints uses. {_ANEW}"
            )
        yield _Heading(raw_name, name, flags, method, crc, compressed_size, size, start)
    if at != len(directory):
        raise CheckpointError(
            f"it is damaged: its zip directory has {count:,} entries, and they do not fill its "
            f"{len(directory):,} bytes. {_ANEW}"
        )


def _decoded(raw_name: bytes, flags: int) -> str:
    try:
        name = raw_name.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"it is damaged: the name of an entry is neither ASCII nor UTF-8. {_ANEW}"
        ) from error
    if name.startswith(("/", "\\")) or "\0" in name or ".." in name.replace("\\", "/").split("/"):
        raise CheckpointError(
            f"its entry {name!r} points out of the file. No program that writes checkpoints "
            "names entries so: do not trust it."
        )
    return name


def _from_zip64(name: str, values: tuple[int, ...], extra: bytes) -> list[int]:
    """Put the 64-bit values in place of those that do not fit into 32 bits."""
    if _IN_ZIP64 not in values:
        return list(values)
    wide = _extra_field(extra, _ZIP64_ID)
    resolved = []
    for value in values:
        if value == _IN_ZIP64:
            if len(wide) < 8:
                raise CheckpointError(
                    f"it is damaged: entry {name!r} lacks its zip64 sizes. {_ANEW}"
                )
            value = int.from_bytes(wide[:8], "little")
            wide = wide[8:]
        resolved.append(value)
    return resolved


def _extra_field(extra: bytes, wanted: int) -> bytes:
    while len(extra) >= 4:
        identifier, length = struct.unpack("<HH", extra[:4])
        if identifier == wanted:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""


def _located(file: ByteRange, heading: _Heading) -> ZipEntry:
    """Find the data of an entry, and hold its local header against the directory."""
    what = f"the header of entry {heading.name!r}"
    length = _LOCAL.size + len(heading.raw_name)
    local = read_bytes(file, heading.start, length, what)
    fields = _LOCAL.unpack(local[: _LOCAL.size])
    signature, _, flags, method, _, _, crc, compressed_size, size, name_length, extra_length = (
        fields
    )
    if _IN_ZIP64 in (size, compressed_size):
        extra = read_bytes(file, heading.start + length, extra_length, what)
        size, compressed_size = _from_zip64(heading.name, (size, compressed_size), extra)
    said = (crc, compressed_size, size)
    expected = (heading.crc, heading.compressed_size, heading.size)
    later = flags & _SIZES_FOLLOW
    if (
        signature != b"PK\3\4"
        or (flags, method) != (heading.flags, heading.method)
        or name_length != len(heading.raw_name)
        or local[_LOCAL.size :] != heading.raw_name
        or any(a != b and not (later and a == 0) for a, b in zip(said, expected, strict=True))
    ):
        raise CheckpointError(
            f"it is damaged or forged: {what} contradicts the zip directory. {_ANEW}"
        )
    offset = heading.start + length + extra_length
    return ZipEntry(heading.name, method, *expected, offset)


def _require_nothing_between(
    file: ByteRange, heading: _Heading, entry: ZipEntry, following: int
) -> None:
    """Require what follows an entry to start where it ends, or behind its data descriptor."""
    end = entry.offset + entry.compressed_size
    gap = following - end
    if gap < 0:
        raise CheckpointError(
            f"it is damaged or forged: entry {entry.name!r} overlaps what follows it. {_ANEW}"
        )
    if gap == 0 and not heading.flags & _SIZES_FOLLOW:
        return
    if gap > 24 or not _is_descriptor(read_bytes(file, end, gap, "a data descriptor"), entry):
        raise CheckpointError(
            f"it is damaged or forged: {gap:,} bytes after entry {entry.name!r} belong to "
            f"nothing. {_ANEW}"
        )


def _is_descriptor(found: bytes, entry: ZipEntry) -> bool:
    """Whether this is the record behind the data, in one of its four forms."""
    width = 4 if len(found) < 20 else 8
    if max(entry.compressed_size, entry.size) >> 8 * width:
        return False
    values = struct.pack(
        "<III" if width == 4 else "<IQQ", entry.crc, entry.compressed_size, entry.size
    )
    return found in (values, b"PK\7\10" + values)


class InflatedPart:
    """The bytes of a compressed entry, inflated as they are read; going back starts anew.

    Raises
    ------
    CheckpointError
        The entry claims more than its compressed bytes can hold; or, on reading, they are damaged.
    """

    def __init__(self, file: ByteRange, entry: ZipEntry) -> None:
        self._what = f"entry {entry.name!r}"
        if entry.size > _MOST_INFLATION * entry.compressed_size:
            raise CheckpointError(
                f"{self._what} claims {entry.size:,} bytes, and its {entry.compressed_size:,} "
                f"compressed bytes cannot hold as much: it is damaged or forged. {_ANEW}"
            )
        self._packed = Part(file, entry.offset, entry.compressed_size, self._what)
        self._expected = entry.crc
        self.size = entry.size
        self._restart()

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill ``view`` with the bytes from ``start`` on."""
        if start < self._at:
            self._restart()
        while self._at < start:
            self._inflate(min(CHUNK, start - self._at))
        done = 0
        while done < len(view):
            piece = self._inflate(min(CHUNK, len(view) - done))
            view[done : done + len(piece)] = piece
            done += len(piece)

    def verify(self) -> None:
        """Inflate what no one has read yet, and compare length and checksum."""
        while self._at < self.size:
            self._inflate(min(CHUNK, self.size - self._at))
        if not self._inflater.eof:
            try:
                more = self._inflater.decompress(self._waiting, 1)
            except zlib.error as error:
                raise self._damaged(str(error)) from error
            if more or not self._inflater.eof:
                raise self._damaged(f"it holds more than the {self.size:,} bytes it claims")
        if self._sum != self._expected:
            raise self._damaged("its checksum does not fit")

    def _restart(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._waiting = b""
        self._read = 0  # of the compressed bytes
        self._at = 0  # of the inflated ones
        self._sum = 0

    def _inflate(self, most: int) -> bytes:
        """Inflate some of the bytes that come next, at least one."""
        while True:
            if not self._waiting:
                count = min(CHUNK, self._packed.size - self._read)
                self._waiting = read_bytes(self._packed, self._read, count, self._what)
                self._read += count
                if not count:
                    raise self._damaged("it ends too soon")
            try:
                piece = self._inflater.decompress(self._waiting, most)
            except zlib.error as error:
                raise self._damaged(str(error)) from error
            self._waiting = self._inflater.unconsumed_tail
            if piece:
                self._at += len(piece)
                self._sum = crc32(piece, self._sum)
                return piece
            if self._inflater.eof:
                raise self._damaged("it ends too soon")

    def _damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self._what} is damaged: {reason}. {_ANEW}")


def entry_bytes(file: ByteRange, entry: ZipEntry) -> ByteRange:
    """Return the bytes of an entry, inflated where it is compressed."""
    return InflatedPart(file, entry) if entry.method == DEFLATED else stored_part(file, entry)
