"""Edited files of runs: values of the header and of the arrays replaced, with right checksums."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 7, 10**6, 10**12, 2**63, -(10**30), 0.5, -0.0, 1e308, {"float": "nan"},
    {"float": "inf"}, {"float": "x"}, "", "w", "run", "steps", "maml", "gd", "x" * 300, "a\nb", "\x1b[31m", [], [1],
    [[]], {}, {"dict": {}}, {"tuple": []}, {"tuple": [1, 2, 3]}, {"array": "gone"}, {"array": "record"},
    {"scalar": "record"}, {"named": ["lbfgs.Memory"]}, {"named": ["a.b", 1]}, {"session": True},
    {"dict": {"session": True}}, {"dict": {"recipe": {"dict": {}}}},
]  # fmt: skip


def members(data: bytes) -> dict[str, bytes]:
    """The members of a file by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as bag:
        return {name: bag.read(name) for name in bag.namelist()}


def write(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Write members to a zip, with right checksums."""
    with zipfile.ZipFile(path, "w", compression) as bag:
        for name, content in parts.items():
            bag.writestr(name, content)
    return path


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all values in a header."""
    if where:
        yield where
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*where, key))
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from places(value[i], (*where, i))


def edited(parts: dict[str, bytes], rng: random.Random) -> tuple[dict[str, bytes], str]:
    """One edit of a file, and its description."""
    names = [name for name in parts if name != "run.json"]
    if rng.random() < 0.25 and names:
        return _edited_array(parts, rng, rng.choice(names))
    header = json.loads(parts["run.json"])
    where = rng.choice(list(places(header)))
    inner = header
    for key in where[:-1]:
        inner = inner[key]
    deed = rng.choice(["replace", "replace", "replace", "delete", "rename", "double", "nudge"])
    old = inner[where[-1]]
    if deed == "delete":
        del inner[where[-1]]
    elif deed == "rename" and isinstance(inner, dict):
        inner[rng.choice(["x", "lr", "\x1b[2J", "a b", "of", "args"])] = inner.pop(where[-1])
    elif deed == "double" and isinstance(inner, list):
        inner.insert(where[-1], copy.deepcopy(old))
    elif deed == "nudge" and isinstance(old, (int, float)) and not isinstance(old, bool):
        inner[where[-1]] = rng.choice([old + 1, -old, old * 1000, float(old), str(old), [old]])
    else:
        inner[where[-1]] = copy.deepcopy(rng.choice(VALUES))
    return parts | {"run.json": json.dumps(header).encode()}, f"{deed} {where} {inner if deed == 'x' else ''}"


def _edited_array(parts: dict[str, bytes], rng: random.Random, name: str) -> tuple[dict[str, bytes], str]:
    array = np.load(io.BytesIO(parts[name]), allow_pickle=False)
    flat = array.reshape(-1)
    deed = rng.choice(["shape", "dtype", "value", "cut", "axes", "bytes", "gone", "swap", "empty"])
    new = array
    if deed == "shape":
        new = flat
    elif deed == "dtype":
        kind = rng.choice(["f4", "f8", "i8", "?", "U5", "c16", "u1"])
        new = np.zeros(array.shape, kind) if array.dtype.kind not in "fiub" else array.real.astype(kind)
    elif deed == "value" and array.dtype.kind == "f" and flat.size:
        flat[rng.randrange(flat.size)] = rng.choice([np.nan, np.inf, -1.0, 1e300, 0.5, 0.0])
    elif deed == "cut":
        new = flat[:-1]
    elif deed == "axes":
        new = array[None]
    elif deed == "swap":
        other = rng.choice([n for n in parts if n != "run.json"])
        return parts | {name: parts[other]}, f"{deed} {name} {other}"
    elif deed == "empty":
        new = np.zeros((0, *array.shape[1:]), array.dtype)
    elif deed == "gone":
        return {n: c for n, c in parts.items() if n != name}, f"{deed} {name}"
    elif deed == "bytes":
        content = bytearray(parts[name])
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return parts | {name: bytes(content)}, f"{deed} {name}"
    out = io.BytesIO()
    np.save(out, new, allow_pickle=False)
    return parts | {name: out.getvalue()}, f"{deed} {name}"
