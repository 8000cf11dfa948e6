"""Copies of the user's functions with their data, hashes of both, and messages about what cannot be traced.

Read `closure` first; `signature` decides which arguments are parameters, `fingerprint` hashes code and data.
"""
