"""Task families made from public data sets.

They come with this package or with an optional dependency, except Omniglot, which is read from a local folder; nothing
is downloaded.
"""
