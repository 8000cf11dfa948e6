"""Runs as files: format, contents, loading, replay, checkpoints, and scripts. Read ``contents.py`` first."""
