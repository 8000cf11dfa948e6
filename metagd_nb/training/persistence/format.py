"""A run as one file: NumPy arrays and JSON, which ``np.load`` opens too. Nothing in it is ever executed.

The file is a zip of ``.npy`` arrays and ``run.json``; the JSON names the arrays where they belong. It holds settings,
events, the record, all that the next step needs, and the cell as text — but no code. Built-in models and families are
named with their arguments, so that they can be made again; functions of a person's are only known by hashes of their
code and of the data that they read.
"""

from __future__ import annotations

import functools
import io
import json
import math
import os
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ...algorithms import ALGORITHMS
from ...core.errors import MetagdError
from ...core.files import atomic_open, regular_file

FORMAT, VERSION = "metagd run", 1
HEADER = "run.json"
LARGER = 8  # times the size of its file that a run may take in memory; metagd itself does not compress
SESSION = {"session": True}  # stands in a file for what only the person's session has

Array = np.ndarray

# ---- values as JSON and arrays -----------------------------------------------------------------------------------


def pack(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """Convert ``value`` to JSON, exact to the bit; put its arrays into ``arrays`` under names that begin with ``name``.

    Raises
    ------
    MetagdError
        For a value that is neither a number, text, an array, nor a tuple, list or dict of such.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        known = next((n for n, array in arrays.items() if array is value), None) or _free(name, arrays)
        arrays[known] = value  # type: ignore[assignment]  # np.save takes a scalar for an array without axes
        return {"array" if isinstance(value, np.ndarray) else "scalar": known}
    return _pack_items(value, name, arrays)


def _pack_items(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    if type(value) in (tuple, list):
        items = [pack(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items} if type(value) is tuple else items
    if (label := _label(type(value))) in _named():
        return {"named": [label, *(pack(item, f"{name}.{n}", arrays) for n, item in value._asdict().items())]}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: pack(item, f"{name}.{key}", arrays) for key, item in value.items()}}
    raise MetagdError(f"{type(value).__name__} cannot be kept in a file", name)


@functools.cache
def _named() -> dict[str, type[Any]]:
    """The named tuples in which the kit's methods keep their state: of classes, a file can name these alone."""
    there = [value for method in ALGORITHMS.values() for value in vars(sys.modules[method.__module__]).values()]
    return {_label(v): v for v in there if isinstance(v, type) and issubclass(v, tuple) and hasattr(v, "_fields")}


def _label(named: type) -> str:
    return f"{named.__module__.rpartition('.')[2]}.{named.__name__}"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """``name`` as a file in a zip can have it, and no other has."""
    name = re.sub(r"[^\w.]", "_", name, flags=re.ASCII)
    while name in taken:
        name += "_"
    return name


_UNPACK: dict[str, Callable[[Any, Mapping[str, Array]], Any]] = {
    "float": lambda inner, arrays: float(inner),
    "array": lambda inner, arrays: arrays[inner],
    "scalar": lambda inner, arrays: arrays[inner][()],
    "tuple": lambda inner, arrays: tuple(unpack(item, arrays) for item in inner),
    "named": lambda inner, arrays: _named()[inner[0]](*(unpack(item, arrays) for item in inner[1:])),
    "dict": lambda inner, arrays: {key: unpack(item, arrays) for key, item in inner.items()},
}


def unpack(value: Any, arrays: Mapping[str, Array]) -> Any:
    """Return the value that `pack` was given."""
    if isinstance(value, list):
        return [unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    return _UNPACK[kind](inner, arrays)


def write(path: str | os.PathLike[str], contents: dict[str, Any]) -> None:
    """Write contents to ``path``, whole or not at all.

    Raises
    ------
    MetagdError
        When the place cannot be written to, or a value cannot be kept.
    """
    arrays: dict[str, Array] = {}
    packed = {key: pack(value, key, arrays) for key, value in contents.items()}
    header = json.dumps({"format": FORMAT, "version": VERSION, **packed}, ensure_ascii=False, allow_nan=False)
    try:
        with atomic_open(path) as file, zipfile.ZipFile(file, "w") as bag:
            bag.writestr(zipfile.ZipInfo(HEADER), header)  # no time of day: the same run is the same bytes
            for name, array in arrays.items():
                with bag.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    npy.write_array(member, np.asanyarray(array), allow_pickle=False)
    except OSError as error:
        raise MetagdError(f"{path} cannot be written ({error.strerror or error})") from None


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The contents of a file that ``write`` wrote.

    It takes memory for a small multiple of the file's size, whatever the file says of its parts.

    Raises
    ------
    MetagdError
        One line for a file that is not there, is damaged, is of another kind, or of a later version.
    """
    try:
        with regular_file(path).open("rb") as file, zipfile.ZipFile(file) as bag:
            members = _members(bag, os.fstat(file.fileno()).st_size)
            header = json.loads(members.pop(HEADER))
            if header.pop("format") != FORMAT:
                raise ValueError
            version = int(header.pop("version"))
            if version > VERSION:
                raise MetagdError(f"{path} is of version {version}; this metagd_nb reads up to {VERSION}: update it")
            arrays = {name.removesuffix(".npy"): array_of(content) for name, content in members.items()}
        return {key: unpack(value, arrays) for key, value in header.items()}
    except MetagdError:
        raise
    except FileNotFoundError:
        raise MetagdError(f"{path} does not exist") from None
    except OSError as error:
        raise MetagdError(f"{path} cannot be read ({error.strerror or error})") from None
    except Exception:  # whatever half a zip, a foreign array or a bent header leads to
        raise damaged(path) from None


def damaged(path: str | os.PathLike[str]) -> MetagdError:
    """Error for a file that `write` did not write as it is."""
    return MetagdError(f"{path} is not a run that metagd saved, or it is damaged")


def _members(bag: zipfile.ZipFile, size: int) -> dict[str, bytes]:
    """The members of a zip by name; ValueError where they take many times the ``size`` of the file, packed."""
    infos = bag.infolist()
    if sum(info.file_size for info in infos) > LARGER * size:
        raise ValueError
    contents = {}
    for info in infos:
        with bag.open(info) as member:
            contents[info.filename] = member.read(info.file_size)  # no more, even where the size is a lie
    return contents


def array_of(content: bytes) -> Array:
    """Return the array of a ``.npy`` file; ValueError where its header promises other than what follows."""
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
    shape, by_column, dtype = header(file)
    if dtype.hasobject or not dtype.itemsize or max(shape, default=0) > len(content):
        raise ValueError
    flat = np.frombuffer(content, dtype, offset=file.tell()).copy()  # a copy can be written to
    return flat.reshape(shape, order="F" if by_column else "C")
