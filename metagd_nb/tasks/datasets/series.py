"""Real series that lie in an installed package: nothing is downloaded."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ...core.errors import MetagdError
from ..user_data.series import Series, series


def _file(package: str, path: str, extra: str) -> Path:
    """A data file of an installed package, which is not imported.

    Raises
    ------
    MetagdError
        Naming the extra that installs it.
    """
    spec = find_spec(package)
    found = Path(spec.origin).parent / path if spec is not None and spec.origin else None
    if found is None or not found.is_file():
        raise MetagdError(f"comes with {package}: pip install 'metagd-nb[{extra}]'", Path(path).stem)
    return found


def m1_yearly(window: int = 3, horizon: int = 1) -> Series:
    """181 yearly series of the M1 competition (Makridakis et al. 1982), 15 to 58 values, as aeon ships them.

    They grow by shares, so logarithms are taken. The competition asks for the last six values.
    """
    text = _file("aeon", "datasets/data/m1_yearly_dataset/m1_yearly_dataset.tsf", "sequences").read_text("cp1252")
    lines = [line.split(":") for line in text.partition("@data")[2].split("\n") if line.strip()]
    values = [np.array(line[-1].split(","), float) for line in lines]
    return series(values, window, horizon, log=True, names=[line[0] for line in lines])


def stocks(window: int = 12, horizon: int = 1) -> Series:
    """Monthly prices of ten American stocks and indices, 1990 on, as matplotlib ships them; logarithms are taken."""
    path = _file("matplotlib", "mpl-data/sample_data/Stocks.csv", "sequences")
    with path.open(encoding="utf-8") as lines:
        rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    names = rows[0][1:]
    columns = [[float(row[i]) for row in rows[1:] if row[i]] for i in range(1, len(rows[0]))]
    return series([np.array(column) for column in columns], window, horizon, log=True, names=names)
