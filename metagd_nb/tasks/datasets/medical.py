"""Small medical tables: each hospital is a task."""

from __future__ import annotations

import numpy as np

from ...core import MetagdError, check_int, records_call
from ..user_data.groups import Groups

YEAR = 365


@records_call
def lung(least: int = 13) -> Groups:
    """Predict survival of more than a year with advanced lung cancer; each hospital is a task.

    The North Central Cancer Treatment Group's study (Loprinzi et al. 1994), as it comes with lifelines: 228 patients
    of 18 hospitals. Patients whose fate after a year is unknown are left out; gaps in
    the table are filled with the median of the column. Columns are scaled to mean 0 and deviation 1 over all patients.

    Parameters
    ----------
    least : int
        Patients that a hospital must have to be a task.

    Returns
    -------
    Groups

    Raises
    ------
    MetagdError
        When lifelines is not installed, or ``least`` leaves fewer than two hospitals.
    """
    try:
        from lifelines.datasets import load_lung
    except ModuleNotFoundError:
        raise MetagdError('needs lifelines; pip install "metagd-nb[fields]"', "lung") from None
    table = load_lung()
    known = table["inst"].notna() & ((table["time"] > YEAR) | (table["status"] == 1))
    table = table[known]
    columns = ["age", "sex", "ph.ecog", "ph.karno", "pat.karno", "meal.cal", "wt.loss"]
    x = table[columns].fillna(table[columns].median()).to_numpy(float)
    y = np.where(table["time"].to_numpy() > YEAR, "lives", "dies")
    return _hospitals("lung", x, y, table["inst"].to_numpy(int), least)


@records_call
def tumours(clinics: int = 14, seed: int = 0) -> Groups:
    """Predict whether a breast tumour is benign; each clinic has forty patients, and the clinics are simulated.

    The Wisconsin diagnostic data (Street, Wolberg & Mangasarian 1993) as they come with scikit-learn: 569 tumours,
    30 measurements. They name no hospital, so the patients are sorted by the texture of their tumours with
    noise added, and each clinic gets a part of that order: clinics see different cases.
    Columns are scaled over all patients.

    Parameters
    ----------
    clinics : int
        Number of clinics.
    seed : int
        Seed of the noise.

    Returns
    -------
    Groups

    Raises
    ------
    MetagdError
        When scikit-learn is not installed.
    """
    clinics, seed = check_int(clinics, "clinics", 2, 100), check_int(seed, "seed", 0)
    try:
        from sklearn.datasets import load_breast_cancer
    except ModuleNotFoundError:
        raise MetagdError('needs scikit-learn; pip install "metagd-nb[tutorials]"', "tumours") from None
    data = load_breast_cancer()
    x, y = data.data, np.where(data.target == 1, "benign", "malignant")
    texture = x[:, list(data.feature_names).index("mean texture")]
    noisy = texture + texture.std() * np.random.default_rng(seed).standard_normal(len(x))
    rank = np.argsort(np.argsort(noisy))
    return _hospitals("tumours", x, y, rank * clinics // len(x), 1)


def _hospitals(name: str, x: np.ndarray, y: np.ndarray, hospital: np.ndarray, least: int) -> Groups:
    """Make the family of the hospitals with at least ``least`` patients."""
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    labels, counts = np.unique(hospital, return_counts=True)
    large = labels[counts >= check_int(least, "least", 1)]
    if len(large) < 2:
        raise MetagdError(f"{least} is not allowed: it leaves {len(large)} of {len(labels)} hospitals", "least")
    rows = np.isin(hospital, large)
    return Groups(scaled[rows], y[rows], hospital[rows], name=name)
