"""The closed form of `mlp`, faster: low-rank directions, buffers that are used again, recorded calls.

`point.Accelerator` gives the same values as `layer_chain.ChainPoint`, the reference. Nothing but `net.NetProblem`
imports this folder, and that only while ``net.ACCELERATED`` is true; the package works without the folder.
"""
