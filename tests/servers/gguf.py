"""Writes llama.cpp's file format for models, GGUF version 3 (its specification is in ggml's `docs/gguf.md`)."""

from array import array
from collections.abc import Mapping, Sequence
from enum import IntEnum
from math import prod
from pathlib import Path
import struct
from typing import Any

ALIGNMENT = 32
F32_TENSOR = 0


class Kind(IntEnum):
    """The type of a metadata value."""

    U32 = 4
    I32 = 5
    F32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9


PACKED = {Kind.U32: "<I", Kind.I32: "<i", Kind.F32: "<f", Kind.BOOL: "<?"}

# Key, type and value; an array's value is the type of its items and the items.
type Metadata = Sequence[tuple[str, Kind, Any]]
# The dimensions, the fastest one first, and the numbers.
type Tensor = tuple[Sequence[int], Sequence[float]]


class Matrix:
    """Rows x columns of zeros to be filled; as a tensor it computes y = W x."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows = rows
        self.columns = columns
        self.values = [0.0] * (rows * columns)

    def __setitem__(self, at: tuple[int, int], value: float) -> None:
        """Set the number at (row, column)."""
        self.values[at[0] * self.columns + at[1]] = value

    def __getitem__(self, at: tuple[int, int]) -> float:
        """Return the number at (row, column)."""
        return self.values[at[0] * self.columns + at[1]]

    def tensor(self) -> Tensor:
        """Return it as the file stores it."""
        return [self.columns, self.rows], self.values


def write(path: Path, metadata: Metadata, tensors: Mapping[str, Tensor]) -> None:
    """Write a model of 32-bit floats."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    for key, kind, value in metadata:
        head += _string(key) + struct.pack("<I", kind) + _value(kind, value)
    data = b""
    for name, (dimensions, numbers) in tensors.items():
        if prod(dimensions) != len(numbers):
            message = f"{name}: {len(numbers)} numbers do not fill {dimensions}"
            raise ValueError(message)
        head += _string(name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        head += struct.pack("<IQ", F32_TENSOR, len(data))
        data += _padded(array("f", numbers).tobytes())
    path.write_bytes(_padded(head) + data)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(kind: Kind, value: Any) -> bytes:
    if kind is Kind.STRING:
        return _string(value)
    if kind is Kind.ARRAY:
        item_kind, items = value
        return struct.pack("<IQ", item_kind, len(items)) + b"".join(_value(item_kind, item) for item in items)
    return struct.pack(PACKED[kind], value)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % ALIGNMENT)
