"""Write runs as Weights & Biases keeps them on disk."""

import json
import struct
import zlib

BLOCK = 32 * 2**10


def varint(number):
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def field(number, value):
    """Write a field of a protobuf message: text or bytes with their length, or an integer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def items(values):
    return b"".join(
        field(1, field(1, key) + field(16, json.dumps(value))) for key, value in values.items()
    )


def log_of(records):
    """Write records in LevelDB's framing, behind W&B's own seven bytes."""
    data = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        rest, first = record, True
        while first or rest:
            left = BLOCK - len(data) % BLOCK
            if left < 7:
                data += bytes(left)
                continue
            body, rest = rest[: left - 7], rest[left - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[
                first, not rest
            ]
            checksum = zlib.crc32(body, zlib.crc32(bytes([kind])))
            data += struct.pack("<IHB", checksum, len(body), kind) + body
            first = False
    return bytes(data)


def written(run_id, name, history, group="", seed=None):
    run = field(1, run_id) + field(6, group) + field(8, name)
    config = {"lr": 0.1} if seed is None else {"lr": 0.1, "seed": seed}
    run += field(4, items(config))
    return log_of([field(17, run), *(field(2, items(row)) for row in history)])
