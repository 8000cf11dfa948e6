"""Words and their languages: names of countries and languages, from the tables of Babel."""

from __future__ import annotations

import functools
import unicodedata
import zlib
from typing import Any

import numpy as np

from ...core import MetagdError, check_int, records_call
from ..user_data.episodes import Episodes

LEAST = 60  # own names of a language
ALIKE = 0.5  # a language that shares more of its names with another is left out


@functools.cache
def vocabulary(latin: bool) -> dict[str, list[str]]:
    """Return names of territories and languages by language code, without those spelled as in English.

    Parameters
    ----------
    latin : bool
        True for names in Latin letters only.

    Returns
    -------
    dict code → list of str

    Raises
    ------
    MetagdError
        When Babel is not installed.
    """
    try:
        from babel import Locale, localedata
    except ModuleNotFoundError:
        raise MetagdError('needs Babel, which JupyterLab brings; pip install "metagd-nb[lab]"', "words") from None
    english = set(_names(Locale.parse("en")))
    own_names: dict[str, list[str]] = {}
    for code in sorted(name for name in localedata.locale_identifiers() if "_" not in name):
        names = sorted(set(_names(Locale.parse(code))) - (english if code != "en" else set()))
        if latin:
            names = [name for name in names if _is_latin(name)]
        own = set(names)
        if len(names) >= LEAST and all(len(own & set(other)) <= ALIKE * len(own) for other in own_names.values()):
            own_names[code] = names
    return own_names


def _names(locale: Any) -> list[str]:
    tables = (locale.territories, locale.languages)
    words = (str(word).lower() for table in tables for key, word in table.items() if not str(key).isdigit())
    return [word for word in words if len(word) > 2 and "(" not in word]


def _is_latin(word: str) -> bool:
    return all(unicodedata.name(letter, "").startswith("LATIN") for letter in word if letter.isalpha())


def ngrams(word: str, inputs: int) -> np.ndarray:
    """Count the n-grams of one to three characters of a word, ends marked, in ``inputs`` hashed cells.

    The counts (inputs,) are scaled to length √inputs, so that a cell is about 1 in size.

    Parameters
    ----------
    word : str
    inputs : int

    Returns
    -------
    array (inputs,)
    """
    text, cells = f"^{word}$", np.zeros(inputs, np.float32)
    for n in (1, 2, 3):
        for i in range(len(text) - n + 1):
            cells[zlib.crc32(text[i : i + n].encode()) % inputs] += 1
    return np.asarray(cells * np.float32(np.sqrt(inputs) / np.linalg.norm(cells)))


@functools.lru_cache(maxsize=4)
def _counted(examples: int, inputs: int, latin: bool, seed: int) -> tuple[np.ndarray, list[int], list[str]]:
    rng = np.random.default_rng(seed)
    chosen = {
        language: [words[i] for i in rng.permutation(len(words))[:examples]]
        for language, words in vocabulary(latin).items()
    }
    cells = [ngrams(word, inputs) for words in chosen.values() for word in words]
    return np.array(cells), [len(words) for words in chosen.values()], list(chosen)


@records_call
def words(ways: int = 5, examples: int = 60, inputs: int = 256, latin: bool = True, seed: int = 0) -> Episodes:
    """Make N-way K-shot tasks of words and their languages, from Unicode's locale tables (CLDR).

    ``words().split()`` holds languages out.

    Parameters
    ----------
    ways : int
        Languages of a task.
    examples : int
        Words of each language, at most.
    inputs : int
        Cells in which n-grams of one to three characters are counted.
    latin : bool
        True for words in Latin letters only; otherwise most languages are recognized by their script alone.
    seed : int
        Seed of the choice of words.

    Returns
    -------
    Episodes

    Raises
    ------
    MetagdError
        When Babel is not installed.
    """
    examples, inputs, seed = (
        check_int(examples, "examples", 2),
        check_int(inputs, "inputs", 2),
        check_int(seed, "seed", 0),
    )
    cells, sizes, names = _counted(examples, inputs, bool(latin), seed)
    return Episodes(cells, np.repeat(np.arange(len(names)), sizes), ways, names, name="words")
