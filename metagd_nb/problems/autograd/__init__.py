"""Problems whose derivatives are traced with HIPS autograd.

Read `tape` first (one scalar function at a point), then `loss` (a loss of named parameters) and `model` (a model and a
loss of one task). `numpy_shim` stands in for NumPy and SciPy in the user's functions while they are traced.
"""
