"""Omniglot: handwritten characters of fifty alphabets, twenty drawings of each (Lake et al. 2015)."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...core import MetagdError, check_int, records_call, records_derivation
from ..user_data.episodes import Episodes

SIDE, DRAWINGS = 28, 20
ARCHIVES = ("images_background.zip", "images_evaluation.zip")  # as the data set is published


# pixels (n, 784) of uint8, ink 255; number (n,) of the character; sorted names (N,), set/alphabet/character
Images = tuple[np.ndarray, np.ndarray, np.ndarray]


class Omniglot(Episodes):
    """N-way K-shot tasks from Omniglot; see `omniglot`. A family is its own ``train`` or ``test``."""

    sides: tuple[Omniglot, Omniglot]

    def __init__(self, images: Images, ways: int, turns: int) -> None:
        self.turns, (pixels, number, names) = turns, images
        super().__init__(pixels, number, ways, names, name="omniglot")

    @property
    def train(self) -> Omniglot:
        """Family of the characters to learn from."""
        return self.sides[0]

    @property
    def test(self) -> Omniglot:
        """Family of the characters held out."""
        return self.sides[0].held_out()

    @records_derivation
    def held_out(self) -> Omniglot:
        """Return `test`; a method, because files name methods only."""
        return self.sides[1]

    @property
    def n_classes(self) -> int:
        """Number of characters times rotations."""
        return self.turns * len(self.sizes)

    def _inputs(self, classes: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return inputs (T, C, k, 784) in [0, 1]; classes beyond the number of characters are rotated."""
        drawn = self.x[row].reshape(*row.shape, SIDE, SIDE)
        for turn in range(1, self.turns):
            rotated = classes // len(self.sizes) == turn
            drawn[rotated] = np.rot90(drawn[rotated], turn, axes=(-2, -1))
        return np.asarray(drawn.reshape(*row.shape, SIDE * SIDE) / np.float32(255))


@records_call
def omniglot(
    path: str | os.PathLike[str], ways: int = 5, seed: int = 0, train: int = 1200, rotations: bool = True
) -> Omniglot:
    """Make N-way K-shot tasks of the characters of Omniglot, images of 28×28 pixels in [0, 1] with ink 1.

    The family draws the characters to learn from; its ``test`` draws those held out, for ``evaluate``.
    ``shots`` and ``queries`` count the drawings of a character.

    Parameters
    ----------
    path : path
        A folder with ``images_background`` and ``images_evaluation`` in it, as folders or as the zips that the data
        set is published as; one of the two; or an ``.npz`` of ``bits`` (n, 98), images packed by ``np.packbits``,
        and ``names`` (n / 20,) of characters.
    ways : int
        Characters of a task.
    seed : int
        Seed of the choice of characters that are held out.
    train : int
        Number of the 1,623 characters to learn from (Santoro et al. 2016 and Finn et al. 2017, §5.2: 1,200).
    rotations : bool
        True to make three more classes of each character, rotated by 90°, 180° and 270°, on the same side.

    Returns
    -------
    Omniglot

    Raises
    ------
    MetagdError
        If there are no such files, or too few characters.
    """
    images = _read(Path(path).expanduser())
    train, ways = check_int(train, "train", 1), check_int(ways, "ways", 2)
    turns, count = 4 if rotations else 1, len(images[-1])
    if turns * min(train, count - train) < ways:
        raise MetagdError(f"{train} of {count} characters leaves a side with fewer than {ways} classes", "train")
    order = np.random.default_rng(check_int(seed, "seed", 0)).permutation(count)
    every = Omniglot(images, ways, turns)
    sides = every._of(order[:train]), every._of(order[train:])
    for side in sides:
        side.sides = sides
    return sides[0]


# ---- files --------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Images:
    if path.suffix == ".npz" and path.is_file():
        return _packed(path)
    drawings = {parts[-4:]: _pixels(content) for parts, content in _files(path)}
    if not drawings:
        raise MetagdError(f"{str(path)!r} has no .png in it", "path")
    order = sorted(drawings)
    names, number = np.unique(["/".join(parts[:-1]) for parts in order], return_inverse=True)
    return np.array([drawings[parts] for parts in order]), number, names


def _files(path: Path) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Return parts of the name and content of each picture in a folder or an archive."""
    if path.suffix == ".zip" and path.is_file():
        return _zipped([path])
    if not path.is_dir():
        raise MetagdError(f"{str(path)!r} is no folder, .zip or .npz of Omniglot's images", "path")
    archives = [path / name for name in ARCHIVES if (path / name).is_file()]
    return _zipped(archives) if archives else ((p.parts, p.read_bytes()) for p in path.resolve().rglob("*.png"))


def _packed(path: Path) -> Images:
    try:
        with np.load(path, allow_pickle=False) as file:
            bits, names = file["bits"], file["names"]
        pixels = 255 * np.unpackbits(bits, axis=1)
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile):
        raise MetagdError(f"{str(path)!r} does not hold bits and names of packed images", "path") from None
    if names.ndim != 1 or pixels.shape != (DRAWINGS * len(names), SIDE * SIDE) or not len(names):
        raise MetagdError(
            f"{str(path)!r} holds {pixels.shape} bits for {names.shape} names; needs 20 images of 784 a name", "path"
        )
    by_name = np.argsort(names)
    pixels = pixels.reshape(len(names), DRAWINGS, -1)[by_name].reshape(pixels.shape)
    return pixels, np.repeat(np.arange(len(names)), DRAWINGS), names[by_name]


def _zipped(archives: list[Path]) -> Iterator[tuple[tuple[str, ...], bytes]]:
    for archive in archives:
        try:
            with zipfile.ZipFile(archive) as packed:
                for name in packed.namelist():
                    if name.endswith(".png") and not name.startswith("__MACOSX"):
                        yield tuple(name.split("/")), packed.read(name)
        except zipfile.BadZipFile:
            raise MetagdError(f"{str(archive)!r} is no zip", "path") from None


def _pixels(content: bytes) -> np.ndarray:
    """Decode a picture in black on white, (784,) with ink 255; larger ones are averaged down."""
    from PIL import Image  # comes with matplotlib; a kit without pictures does not load it

    try:
        picture = Image.open(io.BytesIO(content)).convert("L")
    except OSError:
        raise MetagdError("holds a .png that is no picture", "path") from None
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(255 - np.asarray(picture, np.uint8)).reshape(-1)
