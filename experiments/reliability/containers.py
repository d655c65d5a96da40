"""Damage inside files that carry a length or a checksum, which are then made right again."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
import zlib

from experiments.reliability.mutations import spoil_bytes, spoil_json

_PACKED_START = 16  # magic, number of the format, length of the header
_SUM = 32  # bytes of SHA-256


def spoil_safetensors(rng: random.Random, data: bytes) -> bytes:
    """Damages the JSON header, and writes its length anew."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = spoil_json(rng, data[8:end])
    return len(header).to_bytes(8, "little") + header + data[end:]


def spoil_packed(rng: random.Random, data: bytes) -> bytes:
    """Damages the header (as JSON or as bytes) or the streams, and writes a right checksum."""
    end = _PACKED_START + int.from_bytes(data[_PACKED_START - 8 : _PACKED_START], "little")
    header, streams = zlib.decompress(data[_PACKED_START:end]), data[end:-_SUM]
    choice = rng.random()
    if choice < 0.75:
        header = spoil_json(rng, header)
    elif choice < 0.8:
        header = spoil_bytes(rng, header)
    else:
        streams = spoil_bytes(rng, streams)
    text = zlib.compress(header, 1)
    body = data[: _PACKED_START - 8] + len(text).to_bytes(8, "little") + text + streams
    return body + hashlib.sha256(body).digest()


def spoil_npz(rng: random.Random, data: bytes) -> bytes:
    """Damages, renames or leaves out one member; its zip checksum is right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name, choice = rng.choice(sorted(members)), rng.random()
    content = members.pop(name)
    if choice < 0.7:  # mostly in the header, which says shape and type
        start = content.index(b"\n") + 1
        header, rest = content[:start], content[start:]
        both = (spoil_bytes(rng, header), rest) if rng.random() < 0.7 else (
            header, spoil_bytes(rng, rest))  # fmt: skip
        members[name] = b"".join(both)
    elif choice < 0.85:
        members[rng.choice(("x.npy", "../x.npy", "a/" * 40 + ".npy", name + "x"))] = content
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return made.getvalue()
