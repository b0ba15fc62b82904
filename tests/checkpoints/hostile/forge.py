"""Builders of bad files: zip files with any field wrong, pickles instruction by instruction."""

import json
import struct
import zlib
from dataclasses import dataclass, field

# ------------------------------------------------------------------------------------ zip files

LOCAL = ("version", "flags", "method", "time", "date", "crc", "compressed", "size", "name", "extra")
CENTRAL = ("made", *LOCAL, "comment", "disk", "internal", "external", "offset")


@dataclass
class Entry:
    """An entry; ``local`` and ``central`` override single fields of its two headers."""

    name: str
    data: bytes
    method: int = 0
    flags: int = 0x800
    local: dict = field(default_factory=dict)
    central: dict = field(default_factory=dict)
    before: bytes = b""
    after: bytes = b""


def make_zip(entries, end=None, head=b"", tail=b"", directory_extra=b""):
    """A zip file of ``entries``; ``end`` overrides fields of the record at its end."""
    out = bytearray(head)
    directory = bytearray()
    for entry in entries:
        out += entry.before
        offset = len(out)
        name = entry.name.encode()
        stored = entry.data
        if entry.method == 8:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            stored = packer.compress(entry.data) + packer.flush()
        fields = {
            **dict.fromkeys(CENTRAL, 0),
            **{"flags": entry.flags, "method": entry.method, "crc": zlib.crc32(entry.data)},
            **{"compressed": len(stored), "size": len(entry.data), "name": len(name)},
            "offset": offset,
        }
        local = {**fields, **entry.local}
        central = {**fields, **entry.central}
        out += struct.pack("<4sHHHHHIIIHH", b"PK\3\4", *(local[key] for key in LOCAL))
        out += name + local.get("extra_data", b"") + stored + entry.after
        directory += struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", *(central[k] for k in CENTRAL))
        directory += central.get("name_data", name) + central.get("extra_data", b"")
    directory += directory_extra
    values = {"disk": 0, "first": 0, "here": len(entries), "count": len(entries),
              "size": len(directory), "offset": len(out), "comment": 0, **(end or {})}  # fmt: skip
    return bytes(out + directory + struct.pack("<4sHHHHIIH", b"PK\5\6", *values.values()) + tail)


def torch_entries(pickle, storages=None):
    """The entries that ``torch.save`` would write."""
    storages = {"0": struct.pack("<4f", 1, 2, 3, 4)} if storages is None else storages
    return [
        Entry("a/data.pkl", pickle),
        Entry("a/byteorder", b"little"),
        *(Entry(f"a/data/{key}", data) for key, data in storages.items()),
        Entry("a/version", b"3\n"),
    ]


def torch_zip(pickle, storages=None):
    return make_zip(torch_entries(pickle, storages))


# -------------------------------------------------------------------------------------- pickles


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(dotted):
    module, _, last = dotted.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def tuple_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def integers(values):
    return tuple_of(*map(integer, values))


def call(dotted, *arguments):
    return name(dotted) + tuple_of(*arguments) + b"R"


def storage(key="0", kind="torch.FloatStorage", count=4, extra=b""):
    return (
        tuple_of(text("storage"), name(kind), text(key), text("cpu"), integer(count), extra) + b"Q"
    )


EMPTY_HOOKS = name("collections.OrderedDict") + b")R"


def tensor(shape=(2, 2), strides=(2, 1), offset=0, held_in=None):
    return call(
        "torch._utils._rebuild_tensor_v2",
        storage() if held_in is None else held_in,
        integer(offset), integers(shape), integers(strides), b"\x89", EMPTY_HOOKS,
    )  # fmt: skip


def dictionary(**values):
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def pickled(body):
    return b"\x80\x02" + body + b"."


def beside(payload):
    """A state dictionary with one good tensor, and something else."""
    return torch_zip(pickled(dictionary(w=tensor(), x=payload)))


def state(**values):
    return torch_zip(pickled(dictionary(**values)))


def legacy(body, keys=("0",), counts=(4,), data=None, head=None):
    """A file in the format before 1.6."""
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    protocol = b"\x80\x02M\xe9\x03."
    system = pickled(dictionary(little_endian=b"\x88"))
    listed = pickled(b"](" + b"".join(map(text, keys)) + b"e")
    storages = b"".join(struct.pack("<q", n) for n in counts) if data is None else data
    if data is None:
        storages = b"".join(struct.pack("<q", n) + bytes(4 * max(n, 0)) for n in counts)
    return (head or magic + protocol + system) + pickled(body) + listed + storages


# ------------------------------------------------------------------------------- other formats


def safetensors(header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def npy(header, data=b"", version=1, length=None):
    raw = header.encode() if isinstance(header, str) else header
    size = len(raw) if length is None else length
    width = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(width, size) + raw + data


def npz(**arrays):
    return make_zip([Entry(f"{key}.npy", data) for key, data in arrays.items()])
