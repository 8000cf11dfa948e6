"""Exception of the kit: a single line that names the mistake and the allowed values."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable

LONGEST = 1000  # characters of a message


class MetagdError(ValueError):
    """Mistake in the user's input, described in one line without control characters.

    Parameters
    ----------
    what : str
        The mistake and the allowed values.
    option : str, optional
        The setting or array at fault, in Python spelling (``inner_lr``). The cell
        shows it in the spelling of its options (``--inner-lr``).
    """

    def __init__(self, what: str, option: str | None = None) -> None:
        what = printable(what if len(what) <= LONGEST else f"{what[: LONGEST - 1]}…")
        super().__init__(f"{option}: {what}" if option else what)
        self.what = what
        self.option = option

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows instead of a traceback."""
        return [f"metagd: {self}"]


def shorten(value: object) -> str:
    """Return the ``repr`` of a value in at most 60 characters, on one line."""
    try:
        text = printable(" ".join(repr(value).split()))
    except Exception:  # a whole number of thousands of digits, a __repr__ that fails
        return f"this {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"


def printable(text: str) -> str:
    """Return a text whose control characters, such as those that move a terminal's cursor, are spelt out.

    Parameters
    ----------
    text : str
        Line breaks stay.

    Returns
    -------
    str
    """
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def one_line(error: BaseException) -> str:
    """Return type and message of any exception on one line, ``ValueError: message``, at most 240 characters of it."""
    try:
        message = textwrap.shorten(str(error), 240, placeholder=" …")
    except Exception:  # its own __str__ is broken
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


# Words of other libraries → the settings that they mean here, first those that are shown.
SYNONYMS = {
    "learning-rate learningrate rate eta step-size stepsize alpha": ("lr", "inner-lr", "meta-lr"),
    "lr": ("inner-lr", "meta-lr"),
    "inner-learning-rate adapt-lr fast-lr task-lr": ("inner-lr",),
    "outer-lr meta-learning-rate outer-learning-rate beta": ("meta-lr",),
    "epochs iterations iteration iters iter n-iter max-iter maxiter num-steps n-steps max-steps updates": ("steps",),
    "inner-iterations inner-epochs adaptation-steps adapt-steps": ("inner-steps",),
    "batch batch-size batchsize tasks-per-batch": ("batch-size", "meta-batch-size"),
    "k k-shot support n-support": ("shots",),
    "n-query n-queries": ("queries",),
    "tol gtol tolerance grad-tol": ("grad-below",),
    "target target-loss ftol": ("loss-below",),
    "early-stopping": ("patience",),
    "time max-time timeout time-limit": ("seconds",),
    "random-state rng": ("seed",),
    "optimizer optimiser": ("outer",),
    "output out name": ("-o",),
}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``; did you mean 'maml'?`` for a misspelt name, and ``""`` if no allowed name is close.

    Names are compared without dashes before them; of settings, other libraries' words are known too.

    Parameters
    ----------
    name : str
    allowed : iterable of str

    Returns
    -------
    str
    """
    by_word = {_word(one): one for one in allowed}
    word = _word(name)
    meant = next((found for words, found in SYNONYMS.items() if word in words.split()), ())
    matches = [_word(one) for one in meant if _word(one) in by_word]
    if word in by_word:
        matches = [word]
    elif not matches:
        swapped = [one for one in by_word if sorted(one) == sorted(word)]
        cutoff = 0.6 if len(word) > 3 else 0.5
        matches = (swapped or difflib.get_close_matches(word, list(by_word), n=1, cutoff=cutoff))[:1]
    return f"; did you mean {' or '.join(repr(by_word[one]) for one in matches)}?" if matches else ""


def _word(name: str) -> str:
    """Return a name as it is compared: without case, and without the dashes before an option."""
    return name.lower().lstrip("-").replace("_", "-")


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> MetagdError:
    """Return the error for a name that is not in a table.

    Parameters
    ----------
    kind : str
        Noun for the message, such as ``loss``.
    name : str
    allowed : iterable of str

    Returns
    -------
    MetagdError
    """
    names = list(allowed)
    name = str(getattr(name, "__name__", name))  # of a function that is given for a name
    hint = nearest(name, names) or f"; allowed: {', '.join(names)}"
    return MetagdError(f"unknown {kind} {shorten(name)}{hint}")
