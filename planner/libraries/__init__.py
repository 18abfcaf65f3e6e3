"""Holds facts about other libraries, each with its source: constants, rounding of sizes, and selection of kernels.

Both the memory model and the replay import from here, so their agreement does not confirm these facts: only
measurements, and tests that run the library itself, can show that one is wrong.
"""
