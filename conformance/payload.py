"""Bytes to be made, as cases ask for them: of a message that a client of ours sends, or that a client is given to send."""

from __future__ import annotations

from array import array
from functools import lru_cache
from random import Random

import msgspec

__all__ = ["Message", "Octets", "Payload"]

#: Of more than so many random bytes at once the rest is made of these: from the generator it takes as long as to send and to read them.
BLOCK = 1 << 20
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Octets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """Exactly one of the fields.

    `text` is UTF-8, `hex` octets in hexadecimal, `every-byte` how often 0 to 255 is run through.
    """

    text: str | None = None
    hex: str | None = None
    every_byte: int | None = None

    def __post_init__(self) -> None:
        given = [getattr(self, name) for name in self.__struct_fields__ if getattr(self, name) is not None]
        if len(given) != 1:
            there_are = ", ".join(self.__struct_encode_fields__)
            raise ValueError(f"a {type(self).__name__.lower()} is exactly one of {there_are}")
        if self.hex is not None:
            bytes.fromhex(self.hex)
        if isinstance(given[0], int) and given[0] < 0:
            raise ValueError(f"a {type(self).__name__.lower()} has no negative length")

    @property
    def length(self) -> int:
        """How many bytes it will be, at the most."""
        if self.text is not None:
            return len(self.text.encode())
        if self.hex is not None:
            return len(bytes.fromhex(self.hex))
        return 256 * (self.every_byte or 0)

    def make(self, chance: Random, least: int = 0) -> bytes:
        """The bytes.

        Args:
            chance: decides what is left to it, so that each time is another.
            least: the first of every byte; 1 where a 0 cannot be.
        """
        if self.text is not None:
            return self.text.encode()
        if self.hex is not None:
            return bytes.fromhex(self.hex)
        return bytes(range(least, 256)) * (self.every_byte or 0)


class Payload(Octets, frozen=True, kw_only=True):
    """What is sent to a server; `random` and `counter` are lengths in bytes, the latter of numbers of four bytes each."""

    random: int | None = None
    counter: int | None = None

    @property
    def length(self) -> int:
        """How many bytes it will be."""
        return super().length + (self.random or 0) + (self.counter or 0)

    def make(self, chance: Random, least: int = 0) -> bytes:
        """The bytes; see `Octets.make`."""
        if self.counter is not None:
            return counted(self.counter)
        if self.random is not None:
            return turned(chance.randbytes(min(self.random, BLOCK)), self.random)
        return super().make(chance, least)


class Message(Octets, frozen=True, kw_only=True):
    """What a client is given to send; `letters` is so many letters and digits by chance."""

    letters: int | None = None

    @property
    def length(self) -> int:
        """How many bytes it will be, at the most: an argument of a program cannot hold a 0."""
        return super().length + (self.letters or 0)

    def make(self, chance: Random, least: int = 0) -> bytes:
        """The bytes; see `Octets.make`."""
        if self.letters is not None:
            return "".join(chance.choices(LETTERS, k=self.letters)).encode()
        return super().make(chance, least)


@lru_cache(maxsize=4)  # the same few again and again
def counted(length: int) -> bytes:
    """Numbers of four bytes, in order: no two blocks are equal."""
    return array("I", range(length // 4 + 1)).tobytes()[:length]


def turned(block: bytes, length: int) -> bytes:
    """The block so often that it is so long, each time begun one byte later: no two of them are equal, whatever is exchanged or lost."""
    if length <= len(block):
        return block
    twice = memoryview(block + block)
    starts = (time % len(block) for time in range(-(-length // len(block))))
    return b"".join(twice[start : start + len(block)] for start in starts)[:length]
