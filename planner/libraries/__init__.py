"""Facts of other libraries, each with its source: constants, and how sizes are rounded or kernels selected.

The memory model and the replay import both from here. About what stands here they are not independent of each other:
only measurements, and tests that run the library itself, can tell that a fact is wrong.
"""
