"""Problems whose derivatives JAX compiles; needs the ``jax`` extra.

Read `problems` first: each class is a problem of another package with its derivatives exchanged.
"""
