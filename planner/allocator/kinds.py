"""Maps each choice of the allocator axis to its simulation."""

from __future__ import annotations

from collections.abc import Mapping

from planner.allocator.expandable import ExpandableAllocator
from planner.allocator.native import CachingAllocator
from strategies import Allocator

KINDS: Mapping[Allocator, type[CachingAllocator]] = {
    Allocator.NATIVE: CachingAllocator,
    Allocator.EXPANDABLE: ExpandableAllocator,
}
"""The simulated allocator of each choice of a strategy."""
