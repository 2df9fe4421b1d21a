"""Payloads: as long as was asked, and no part of one like another."""

from __future__ import annotations

from random import Random

import pytest

from forkecho.conformance.payload import BLOCK, Payload, turned


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK // 2])
def test_random_bytes_are_as_many_as_was_asked_and_begin_as_the_generator_has_them(size: int) -> None:
    """Each time others, and the same of the same seed."""
    chance = Random("a seed")
    made = Payload(random=size).make(chance)

    assert len(made) == size
    assert made[:BLOCK] == Random("a seed").randbytes(min(size, BLOCK))
    assert made == Payload(random=size).make(Random("a seed"))
    assert size < 2 or made != Payload(random=size).make(chance)


def test_no_two_parts_of_a_long_payload_are_equal() -> None:
    """Whatever a server exchanges, repeats or loses, of the sizes that buffers have, is seen."""
    made = Payload(random=6 * BLOCK).make(Random(1))
    for size in (4096, 65536, BLOCK):
        parts = [made[at : at + size] for at in range(0, len(made), size)]
        assert len(set(parts)) == len(parts)


def test_each_turn_begins_one_byte_later() -> None:
    """By hand; after as many turns as there are bytes it begins anew."""
    assert turned(b"abc", 8) == b"abcbcaca"
    assert turned(b"ab", 9) == b"abbaabbaa"


@pytest.mark.parametrize("size", [0, 5, 4096])
def test_a_counter_is_numbers_in_order(size: int) -> None:
    """Of four bytes each, the last cut off."""
    made = Payload(counter=size).make(Random(1))

    assert len(made) == size
    assert made[:8] == b"\0\0\0\0\1\0\0\0"[:size]
