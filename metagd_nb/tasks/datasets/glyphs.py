"""Characters of many scripts, drawn with the fonts of matplotlib: few-shot images without a download."""

from __future__ import annotations

import functools
import math
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from ...core import check_int, records_call
from ..user_data.episodes import Episodes

FACES = (  # the first that has a character gives its shape
    "DejaVuSans",
    "DejaVuSerif",
    "DejaVuSansMono",
    "STIXGeneral",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSerif-Italic",
    "STIXGeneralItalic",
)
LETTERS = {"Lu", "Ll", "Lo", "Nl"}
MADE_OF_OTHERS = {"WITH", "LIGATURE", "COMPATIBILITY", "DIGRAPH", "FORM"}
ALPHABETS = {"SCRIPT", "BOLD SCRIPT", "FRAKTUR", "BOLD FRAKTUR", "DOUBLE-STRUCK"}  # mathematical, unlike plain letters
BLOCKS = (  # signs that are no letters, by their ranges in Unicode
    ("arrows", 0x2190, 0x21FF),
    ("operators", 0x2200, 0x22FF),
    ("technical", 0x2300, 0x23FF),
    ("boxes", 0x2500, 0x257F),
    ("shapes", 0x25A0, 0x25FF),
    ("symbols", 0x2600, 0x26FF),
    ("dingbats", 0x2700, 0x27BF),
    ("braille", 0x2800, 0x28FF),
    ("long arrows", 0x2900, 0x297F),
    ("brackets", 0x2980, 0x29FF),
    ("more operators", 0x2A00, 0x2AFF),
    ("hexagrams", 0x4DC0, 0x4DFF),
    ("tetragrams", 0x1D300, 0x1D356),
    ("dominoes", 0x1F030, 0x1F09F),
    ("cards", 0x1F0A0, 0x1F0FF),
)
LEAST = 14  # characters that make a script


def script_of(character: str) -> str | None:
    """Return the script of a character; None for one that is left out: accented, compound, or of no script."""
    for name, first, last in BLOCKS:
        if first <= ord(character) <= last:
            return name
    words = unicodedata.name(character, "").split()
    if unicodedata.category(character) not in LETTERS or not words or MADE_OF_OTHERS & set(words):
        return None
    if words[0] == "MATHEMATICAL":
        alphabet = " ".join(words[1:-2])
        return alphabet.lower() if alphabet in ALPHABETS else None
    return words[0].lower()


@functools.cache
def fonts() -> list[tuple[Any, frozenset[int]]]:
    """Open the font faces; return each with the characters that it has."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = [FT2Font(str(folder / f"{face}.ttf")) for face in FACES]
    for face in faces:
        face.set_size(64, 72)
    return [(face, frozenset(face.get_charmap())) for face in faces]


@functools.cache
def characters() -> dict[str, list[str]]:
    """Return the characters of each script, all of different shape.

    Greek Α has the shape of Latin A: such a character belongs to the first script that has it, so that a held-out
    script shares no shape with another.
    """
    first: dict[bytes, tuple[str, str]] = {}  # script and character by shape
    for character in map(chr, sorted(frozenset().union(*(has for _, has in fonts())))):
        script = script_of(character)
        face = next(face for face, has in fonts() if ord(character) in has)
        if script is not None and (shape := _outline(face, character)) is not None:
            first.setdefault(np.round(shape[0], 1).tobytes(), (script, character))
    scripts: dict[str, list[str]] = {}
    for script, character in first.values():
        scripts.setdefault(script, []).append(character)
    return {script: drawn for script, drawn in sorted(scripts.items()) if len(drawn) >= LEAST}


def _outline(font: Any, character: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return points and codes of a character's outline, centred, with its longer side 1; None if it is blank."""
    from matplotlib import ft2font

    # the shape itself, not as pixels of a size; before matplotlib 3.10 the flag is a plain number
    unhinted = ft2font.LoadFlags.NO_HINTING if hasattr(ft2font, "LoadFlags") else 2
    font.load_char(ord(character), flags=unhinted)
    points, codes = font.get_path()
    if len(points) < 3:
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    if not (high - low).max() > 0:
        return None
    return (points - (low + high) / 2) / (high - low).max(), codes


def draw(points: np.ndarray, codes: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw one example (size·size,) in [0, 1], rotated, sheared, scaled and shifted a little, white on black.

    Parameters
    ----------
    points, codes : arrays (n, 2), (n,)
        Outline of the character.
    rng : Generator
    size : int
        Pixels of a side.

    Returns
    -------
    array (size·size,)
    """
    from matplotlib.path import Path as Outline

    turn, shear = rng.normal(0, 0.12), rng.normal(0, 0.12)
    wide, high = np.exp(rng.normal(0, 0.1, 2))
    cos, sin = math.cos(turn), math.sin(turn)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[wide, shear], [0.0, high]])
    placed = (points @ matrix.T) * 0.72 * size + size / 2 + rng.normal(0, 0.035 * size, 2)
    renderer, ink, identity = _canvas(size)
    renderer.clear()
    renderer.draw_path(ink, Outline(placed, codes), identity, (0.0, 0.0, 0.0, 1.0))
    return np.asarray(renderer.buffer_rgba())[..., 3].reshape(-1) / np.float32(255)


@functools.cache
def _canvas(size: int) -> Any:
    """Make the renderer of ``size`` by ``size`` pixels, its graphics context, and the identity transform."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import IdentityTransform

    renderer = RendererAgg(size, size, 72)
    ink = renderer.new_gc()
    ink.set_linewidth(0)
    return renderer, ink, IdentityTransform()


@functools.lru_cache(maxsize=4)
def _drawn(per_script: int, examples: int, size: int, seed: int) -> tuple[np.ndarray, list[str], list[str]]:
    """Draw all examples (n, size·size); return them with the characters and their scripts."""
    rng = np.random.default_rng(seed)
    images, names, parents = [], [], []
    for script, drawn in characters().items():
        for i in np.sort(rng.permutation(len(drawn))[:per_script]):
            shapes = [
                shape
                for face, has in fonts()
                if ord(drawn[i]) in has and (shape := _outline(face, drawn[i])) is not None
            ]
            images += [draw(*shapes[int(rng.integers(len(shapes)))], rng, size) for _ in range(examples)]
            names.append(drawn[i])
            parents.append(script)
    return np.array(images, np.float32), names, parents


@records_call
def glyphs(ways: int = 5, per_script: int = 20, examples: int = 20, size: int = 16, seed: int = 0) -> Episodes:
    """Make N-way K-shot tasks of images: characters of some thirty scripts and sets of signs, from matplotlib's fonts.

    ``glyphs().split()`` holds whole scripts out.

    Parameters
    ----------
    ways : int
        Characters of a task.
    per_script : int
        Characters of each script, at most.
    examples : int
        Images of each character, in the faces that have it, each rotated, sheared, scaled and shifted a little.
    size : int
        Pixels of a side; an input is size² numbers in [0, 1].
    seed : int
        Seed of the choice of characters and of the drawing.

    Returns
    -------
    Episodes

    Raises
    ------
    MetagdError
        For a number out of its range.
    """
    per_script, examples = check_int(per_script, "per_script", 2), check_int(examples, "examples", 2)
    size, seed = check_int(size, "size", 8, 105), check_int(seed, "seed", 0)
    images, names, parents = _drawn(per_script, examples, size, seed)
    number = np.repeat(np.arange(len(names)), examples)
    return Episodes(images, number, ways, names, parents, "glyphs")
