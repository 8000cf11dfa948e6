"""Readers of the declarations: what the listing, the help and README's tables say about each method.

``python -m metagd_nb.notebook.magic.table README.md`` writes the generated parts of the README again.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from ...algorithms import ALGORITHMS
from ...core.hyperparameters import hyperparameters
from ...training.stopping import Settings

EVERY, EVERY_META = "every method", "every meta-learning method"


class Summary(NamedTuple):
    """One method on one line."""

    name: str
    setting: str  # "single" or "meta"
    summary: str
    source: str


class Option(NamedTuple):
    """One option, each part in words."""

    option: str  # --inner-lr
    default: str
    allowed: str
    help: str


def summary_rows() -> list[Summary]:
    """Every method in the order of the table of algorithms."""
    return [Summary(name, cls.setting, first_line(cls), cls.source) for name, cls in ALGORITHMS.items()]


def option_rows(declared: type | object) -> list[Option]:
    """The options of a method (its class, or an instance) or of ``Settings``, in the order declared."""
    return [Option(h.option, shown(h.default), h.allowed, h.help) for h in hyperparameters(declared).values()]


def first_line(declared: type) -> str:
    """What a class or function says of itself first, on one line: the first paragraph of its docstring."""
    paragraph = (declared.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`")


def shown(default: Any) -> str:
    """A default as it would be typed: ``0.001``, ``adam``, ``–`` when there is none."""
    if default is None:
        return "–"
    if isinstance(default, tuple):
        return ",".join(map(shown, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def markdown_table() -> str:
    """README's two tables: the methods, and what each of their options is and allows."""
    methods = [(f"`{row.name}`", row.summary, row.source) for row in summary_rows()]
    owners: dict[tuple[str, str, str], dict[str, str]] = {}  # option, allowed, help → method → default
    for name, cls in ALGORITHMS.items():
        for o in option_rows(cls):
            owners.setdefault((o.option, o.allowed, o.help), {})[name] = o.default
    options = [
        (f"`{option}`", _of(defaults), _defaults(defaults), allowed, told)
        for (option, allowed, told), defaults in owners.items()
    ]
    options += [(f"`{o.option}`", EVERY, o.default, o.allowed, o.help) for o in option_rows(Settings)]
    return "\n\n".join(
        (
            _markdown(("method", "what it does", "source"), methods),
            _markdown(("option", "of", "default", "allowed", "meaning"), options),
        )
    )


def _of(methods: Collection[str]) -> str:
    """The methods that have an option, in the fewest words."""
    if set(methods) == {name for name, cls in ALGORITHMS.items() if cls.setting == "meta"}:
        return EVERY_META
    return ", ".join(f"`{name}`" for name in methods)


def _defaults(of: Mapping[str, str]) -> str:
    """The usual default, then the methods that differ: ``1; `reptile` 5``."""
    usual = Counter(of.values()).most_common(1)[0][0]
    return "; ".join([usual, *(f"`{name}` {default}" for name, default in of.items() if default != usual)])


def _markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def badge(urls: Mapping[str, str], chapter: str) -> str:
    """The Binder badge of the repository in ``[project.urls]``, opening a chapter; "" while none is named.

    Parameters
    ----------
    urls : mapping
        ``[project.urls]``; ``Repository`` is read.
    chapter : str
        The notebook's path in the repository.
    """
    address = urls.get("Repository", "").rstrip("/").removesuffix(".git")
    if not address:
        return ""
    host, path = urlsplit(address).netloc, urlsplit(address).path.strip("/")
    where = {"github.com": f"gh/{path}", "gitlab.com": f"gl/{quote(path, safe='')}"}.get(host)
    where = where or f"git/{quote(address, safe='')}"
    target = f"https://mybinder.org/v2/{where}/HEAD?labpath={quote(chapter)}"
    return f"[![Open the book in Binder](https://mybinder.org/badge_logo.svg)]({target})"


def generated(text: str, parts: Mapping[str, str]) -> str:
    """``text`` with what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` written again."""
    for name, part in parts.items():
        head, opening, rest = text.partition(f"<!-- {name} -->\n")
        _, closing, tail = rest.partition(f"<!-- /{name} -->")
        if not (opening and closing):
            raise ValueError(f"no <!-- {name} --> … <!-- /{name} --> in the text")
        text = head + opening + (part + "\n" if part else "") + closing + tail
    return text


def readme(path: Path) -> str:
    """What a checkout's README should say, its generated parts written again."""
    project = tomllib.loads(path.with_name("pyproject.toml").read_text(encoding="utf-8"))["project"]
    first = min((p.name for p in path.with_name("notebooks").glob("*.ipynb")), default="")
    parts = {"badge": badge(project.get("urls", {}), f"notebooks/{first}"), "methods": markdown_table()}
    return generated(path.read_text(encoding="utf-8"), parts)


if __name__ == "__main__":
    README = Path(sys.argv[1])
    README.write_text(readme(README), encoding="utf-8")
