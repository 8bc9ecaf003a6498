"""Which keys were seen, in as few bytes as twenty million of them need."""

from __future__ import annotations

from array import array
from collections.abc import Hashable

_FIRST = 2**12
_BITS = 2**64 - 1


class Keys:
    """A set that holds 64-bit hashes in open addressing: 12 to 24 bytes a key, where a dict of texts takes some 150.

    Two keys may share a hash, which happens in one of eighty thousand sets of 20 million.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _FIRST))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """The memory it takes."""
        return len(self._slots) * self._slots.itemsize

    def add(self, key: Hashable) -> bool:
        """Adds a key; says whether it is new."""
        value = hash(key) & _BITS or 1
        slots = self._slots
        mask = len(slots) - 1
        at = value & mask
        while found := slots[at]:
            if found == value:
                return False
            at = (at + 1) & mask
        slots[at] = value
        self._count += 1
        if 3 * self._count > 2 * len(slots):
            self._grow()
        return True

    def _grow(self) -> None:
        slots = array("Q", bytes(2 * self.nbytes))
        mask = len(slots) - 1
        for value in self._slots:
            if value:
                at = value & mask
                while slots[at]:
                    at = (at + 1) & mask
                slots[at] = value
        self._slots = slots
