"""Represents the blocks that segments are divided into."""

from __future__ import annotations


class Block:
    """Represents consecutive bytes of a segment, in use or free.

    Args:
        size: Bytes of the block.
        address: Its first address.
        small: Whether it belongs to the small pool.
        mapped: Whether there is memory behind its addresses.

    Attributes:
        free: Whether it is not in use.
        previous: The block before it in the segment, or None.
        next: The block after it in the segment, or None.
    """

    __slots__ = ("address", "free", "mapped", "next", "previous", "size", "small")

    def __init__(self, size: int, address: int, small: bool, mapped: bool = True) -> None:
        self.size = size
        self.address = address
        self.small = small
        self.mapped = mapped
        self.free = True
        self.previous: Block | None = None
        self.next: Block | None = None

    @property
    def usable(self) -> bool:
        """Whether a request can be served from this block."""
        return self.free and self.mapped

    def split(self, size: int) -> Block:
        """Shrinks the block to `size` bytes and returns a new block of the rest."""
        rest = Block(self.size - size, self.address + size, self.small, self.mapped)
        after = self.next
        rest.previous = self
        rest.next = after
        if after is not None:
            after.previous = rest
        self.next = rest
        self.size = size
        return rest

    def absorb_next(self) -> None:
        """Joins the block with the one after it."""
        assert self.next is not None
        self.size += self.next.size
        self.next = self.next.next
        if self.next is not None:
            self.next.previous = self
