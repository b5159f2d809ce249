"""Reading the fields of SSH messages and structures (RFC 4251, section 5).

Conch's ``getNS`` gives less than was announced when the data is too short; here that is an error.
"""

from __future__ import annotations


class Fields:
    """Takes field after field; each method raises ValueError if there is not enough data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def take(self, size: int) -> bytes:
        end = self._offset + size
        if end > len(self._data):
            raise ValueError("truncated")
        taken = self._data[self._offset : end]
        self._offset = end
        return taken

    def rest(self) -> bytes:
        """Everything that has not been taken yet."""
        return self.take(len(self._data) - self._offset)

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def boolean(self) -> bool:
        return self.take(1) != b"\0"

    def string(self) -> bytes:
        return self.take(self.uint32())

    def mpint(self) -> int:
        """A number that is not negative."""
        data = self.string()
        if data[:1] > b"\x7f":
            raise ValueError("negative number")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        """Nothing may be left. Raises ValueError otherwise."""
        if self._offset != len(self._data):
            raise ValueError("trailing bytes")
