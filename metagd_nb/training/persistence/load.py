"""A run out of a file: with its record, its results and its plot at once, and ready to be replayed or to go on."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...algorithms import ALGORITHMS, Algorithm
from ...core.errors import MetagdError, shorten, unknown_name
from ...core.hyperparameters import hyperparameters
from ...core.messages import logger
from ...core.parameters import ParameterLayout
from ...core.provenance import rebuild
from ...models.builtin import MODELS
from ...tasks import FAMILIES, Reference
from ...tasks.user_data.table_encoding import Encoding
from ..backend_choice import has_jax
from ..minibatches import Epochs, epochs_of, every_of
from ..plan import Inputs, Plan
from ..planning import planned
from ..record import Record
from ..requests import Event
from ..run import Run
from ..settings import Settings
from ..user_callbacks import Metrics
from ..validation import Validation
from .format import SESSION, damaged, read
from .function_source import is_own, missing_method
from .missing_problem import MissingProblem
from .replay import expected
from .state import restore
from .tables import encoding_of
from .validation import check_contents, check_loop, require

Array = np.ndarray
TABLES: dict[str, Mapping[str, Callable[..., Any]]] = {"model": MODELS, "tasks": FAMILIES}


def load(path: str | os.PathLike[str], **session: Any) -> Run:
    """Read a run that `Run.save` or ``--checkpoint`` wrote; nothing in the file is executed.

    Record, parameters, plot and summary are there at once. To evaluate, replay or go on with it, built-in models and
    families need nothing; what is your own code, or data that was left out, comes from the session.

    Parameters
    ----------
    path : str or path
    **session : loss, gradient, model, tasks, x, y, data, namespace, schedule
        Inputs that the file does not hold: ``load(path, loss=loss)``. Differences from what was saved are logged as a
        warning.

    Returns
    -------
    Run

    Raises
    ------
    MetagdError
        One line for a file that is damaged or foreign, and for one whose settings are not allowed.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise MetagdError(f"{shorten(path)} is not the path of a file that Run.save wrote", "load")
    saved = read(path)
    try:
        run = _restored(str(path), saved, session)
    except _CorruptFile as error:
        raise damaged(path) from error.__cause__
    if session and (lines := expected(saved, run.plan)[1:]):
        logger.warning("\n".join(lines))
    return run


class _CorruptFile(Exception):
    """Parts of a file do not fit together."""


@contextmanager
def _trusting_nothing() -> Iterator[None]:
    """A file may hold anything: whatever does not fit is the file's fault."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _CorruptFile from error


class _Parts(NamedTuple):
    """Plan of a run as a file holds it."""

    path: str
    method: str
    algorithm: Algorithm
    settings: Settings
    layout: ParameterLayout
    start: Array  # (P,)
    theta: Array  # (M,), of the last row
    own: dict[str, Any]  # what could be made again
    missing: list[str]  # what only the session has
    references: tuple[Reference, ...]
    epochs: Epochs | None  # of mini-batches
    validated: bool  # it has held-out rows
    encoding: Encoding | None  # of the rows that a model was fitted to

    def plan(self, **session: Any) -> Plan:
        """The plan, as far as the file and the session make it up."""
        for name in session:
            if name not in Inputs._fields:
                raise unknown_name("argument", name, Inputs._fields)
        missing = [name for name in self.missing if name not in session]
        single = {"model", "tasks"}.isdisjoint({*self.own, *self.missing})
        settled: dict[str, dict[str, Any]] = (
            {"data": {}} if single else {}
        )  # what the saved run trained is trained again
        found = {"params": self.layout.views(self.start), **settled, **self.own, **session}
        if set(missing) <= {"schedule"}:  # which the problem does not need
            made = planned(
                self.method, self.algorithm, self.settings, Inputs(**{**found, "check": False}), bool(session)
            )
            made = made if session else made._replace(references=self.references)
        else:
            absent = MissingProblem(self.path, missing, self.layout, self.start)
            made = Plan(
                self.method,
                self.algorithm.bind(found.get("tasks")),
                absent,
                absent,
                self.settings,
                self.start,
                self.theta,
                tasks=found.get("tasks"),
                references=self.references,
                validation=Validation(absent, None, every_of(self.epochs)) if self.validated else None,
                metrics=Metrics(found["metrics"], every_of(self.epochs)) if "metrics" in found else None,
                epochs=self.epochs,
                encoding=self.encoding,
                inputs=Inputs(model=found.get("model")),
            )
        return made._replace(again=partial(self.plan, **session))


def _again(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Rebuild the inputs of a run; return them, and the names of those that a file does not hold."""
    own: dict[str, Any] = {}
    missing = []
    for name, value in given.items():
        provenance = value["recipe"] if name in TABLES and isinstance(value, dict) and value != SESSION else None
        session = isinstance(value, dict) and value == SESSION
        if session or (provenance is not None and _reads(provenance, TABLES[name])):
            missing.append(name)
        else:
            own[name] = value if provenance is None else rebuild(provenance, TABLES[name])
    return own, missing


def _method(path: str, method: str, fields: Mapping[str, Any]) -> type[Algorithm]:
    """Return the class of a method by its name.

    Raises
    ------
    MetagdError
        For a method of the user's own whose class is not here, or is another one.
    """
    if method not in ALGORITHMS and not method.replace("-", "_").isidentifier():
        raise _CorruptFile
    if method not in ALGORITHMS:
        raise MetagdError(f"{path} holds a run of {missing_method(method)}")
    kind = ALGORITHMS[method]
    if is_own(kind) and fields.keys() != hyperparameters(kind).keys():
        there, here = sorted(fields), sorted(hyperparameters(kind))
        raise MetagdError(
            f"{path} holds a run of your own method {shorten(method)} with the settings {shorten(there)}; "
            f"the class here has {shorten(here)}"
        )
    return kind


def _reads(provenance: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> bool:
    """True where a model or family was made from files: a path in a file is not followed."""
    if "of" in provenance:
        return _reads(provenance["of"], functions)
    inner = [one["recipe"] for one in (*provenance["args"], *provenance["kwargs"].values()) if isinstance(one, dict)]
    reads = "path" in inspect.signature(functions[provenance["name"]]).parameters
    return reads or any(_reads(one, functions) for one in inner)


def _parts(path: str, saved: dict[str, Any]) -> _Parts:
    with _trusting_nothing():
        origin, method, fields = saved["origin"], str(saved["method"]), dict(saved["algorithm"])
    kind = _method(path, method, fields)
    with _trusting_nothing():
        given = origin["given"]
        check_contents(saved)
        own, missing = _again(given)
        model = own.get("model")
        if model is not None:  # before its parameters are drawn
            require({n: list(shape) for n, shape in model.layout.shapes.items()} == origin["shapes"], "model")
        settings = _available(Settings(**{**saved["settings"], "checkpoint": None}))  # a file names no file to write to
        return _Parts(
            path,
            method,
            kind(**fields),
            settings,
            ParameterLayout({name: tuple(shape) for name, shape in origin["shapes"].items()}),
            origin["start"],
            saved["state"]["theta"],
            own,
            missing,
            tuple(Reference(*one) for one in saved["references"]),
            epochs_of(settings, origin["rows"]) if "rows" in origin else None,
            "validation" in saved["columns"],
            encoding_of(saved.get("encoding")),
        )


def _available(settings: Settings) -> Settings:
    """Return the settings with one device, and a line that says so, where their devices are not here."""
    if settings.devices == 1 or not has_jax():
        return settings
    import jax

    if settings.devices <= jax.device_count() and not settings.devices % jax.process_count():
        return settings
    logger.warning("metagd: trained on %d devices, which are not here; it goes on with 1", settings.devices)
    return replace(settings, devices=1)


def _restored(path: str, saved: dict[str, Any], session: dict[str, Any]) -> Run:
    parts = _parts(path, saved)
    with _trusting_nothing():
        plan = parts.plan()
    if session:
        plan = parts.plan(**session)
    with _trusting_nothing():
        run = Run(plan)
        loop = run.loop
        loop.saved, loop.cell, loop.note = saved, saved["cell"], saved["note"]
        loop.stopping.sampled = saved["sampled"]
        loop.events = [Event(*event) for event in saved["events"]]
        loop.stopped, loop.paused = saved["stopped"], saved["stopped"] is None  # a checkpoint of a run that went on
        present = replace(loop.algorithm, **saved["present"])
        check_loop(loop, saved, present)
        restore(loop, saved["state"], present, Record.of(saved["columns"], saved["record"]))
    return run
