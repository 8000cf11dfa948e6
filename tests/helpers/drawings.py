"""A small made-up Omniglot in each of the forms that the loader reads."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SETS = {"images_background": ("Greek", "Latin"), "images_evaluation": ("Mayan",)}


def characters(each: int = 4) -> list[str]:
    """Names of characters in the order of the packed file, which is not the alphabet's."""
    names = [f"{one}/{a}/character{i:02}" for one, alphabets in SETS.items() for a in alphabets for i in range(each)]
    return names[::-1]


def images(count: int, seed: int = 0) -> np.ndarray:
    """(count, 20, 28, 28) of zeros and ones: no two alike, and no drawing alike to itself turned."""
    return (np.random.default_rng(seed).random((count, 20, 28, 28)) < 0.3).astype(np.uint8)


def packed(path: Path, each: int = 4) -> Path:
    """The ``.npz`` form."""
    names = characters(each)
    bits = np.packbits(images(len(names)).reshape(-1, 784), axis=1)
    np.savez(path, bits=bits, names=np.array(names))
    return path


def pngs(each: int = 4, side: int = 28) -> dict[str, bytes]:
    """File name → picture, black on white as published; ``side`` a multiple of 28."""
    files = {}
    for name, drawn in zip(characters(each), images(3 * each), strict=True):
        for i, one in enumerate(drawn):
            content = io.BytesIO()
            large = np.kron(1 - one, np.ones((side // 28, side // 28), np.uint8)).astype(bool)
            Image.fromarray(large).save(content, "png")
            files[f"{name}/{int(name[-2:]):04}_{i + 1:02}.png"] = content.getvalue()
    return files


def folders(root: Path, each: int = 4, side: int = 28) -> Path:
    """The unpacked form."""
    for name, content in pngs(each, side).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def zips(root: Path, each: int = 4, side: int = 28) -> Path:
    """The published form: a zip for each set."""
    files = pngs(each, side)
    for one in SETS:
        with zipfile.ZipFile(root / f"{one}.zip", "w") as archive:
            archive.writestr("__MACOSX/._0001_01.png", b"no picture")
            for name, content in files.items():
                if name.startswith(one):
                    archive.writestr(name, content)
    return root
