"""The commands of the magic that act on functions, runs or tasks of the namespace: check, compare, export and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from IPython.display import display

from ...core.errors import MetagdError, nearest
from ...problems.capture.roles import assigned
from ...problems.gradient_check import check_functions
from ...tasks import Tasks
from ...training.run import Run
from .bind import Names, instances, run_parts, starting_values
from .export_resume import export
from .line import Line, as_typed


def check(line: Line, names: Names) -> None:
    """Print the comparison of a user's gradient with the derivative of the loss."""
    if len(line.words) > 2:
        raise MetagdError(
            f"check takes a loss and a gradient, not {len(line.words)} names: %metagd check loss gradient"
        )
    loss, gradient = map(names.function, (*line.words, *("loss", "gradient")[len(line.words) :]))
    params, data = starting_values(loss, names, line)
    if data is None:
        params, data, _ = assigned(loss, params, namespace=names.space)
    print(*check_functions(loss, gradient, params, names.space | data).lines, sep="\n")


def compare(line: Line, names: Names) -> None:
    """Display the losses of runs in one figure, or with ``--seeds`` a comparison that trains them anew."""
    from ...analysis.compare import compare
    from ...plotting.comparison import overlaid_runs

    runs = instances(names.space, Run)
    if len(line.words) < 2:
        raise MetagdError(f"compare needs two runs or more; {_existing(runs)}")
    for name in line.words:
        if name not in runs:
            raise MetagdError(f"{name} is not a run{nearest(name, runs) or f'; {_existing(runs)}'}")
    chosen = {name: runs[name] for name in line.words}
    seeds, over = line.options.get("seeds", 0), line.options.get("over", "steps")
    if not seeds and over == "steps":
        display(overlaid_runs(chosen))
        return
    result = compare(chosen, seeds, baselines=line.baselines)
    display(result.plot(over))
    display(result)


def recognise(line: Line, names: Names) -> None:
    """Train a recognizer of task kinds, store it in the namespace, and display its confusion matrix."""
    from ...analysis.recognition import recognise
    from ...plotting.charts import confusion

    if len(line.words) > 1:
        raise MetagdError("recognise takes one family of tasks: %metagd recognise tasks")
    families = instances(names.space, Tasks)
    name = (*line.words, "tasks")[0]
    if name not in families:
        hint = nearest(name, families) or f"; {_existing(families)}"
        raise MetagdError(f"{name} is not a family of tasks{hint}")
    try:
        recognizer = recognise(names.space[name], **line.options)
        accuracy = recognizer.evaluate()
    except MetagdError as error:
        raise as_typed(error, line) from None
    names.space[line.name] = recognizer
    print(f"metagd: {recognizer}, in {line.name}; on new tasks {accuracy}")
    display(confusion(accuracy))


def remember(line: Line, names: Names) -> None:
    """Switch the memory of runs on, in the default file or a given one, or off."""
    from ...analysis.run_memory import remember

    if len(line.words) > 1:
        raise MetagdError("remember takes one file, or off")
    target = line.words[0] if line.words else True
    memory = remember(False if target == "off" else target)
    if memory is None:
        print("metagd: runs are not remembered any more")
        return
    print(f"metagd: {memory} in {target if line.words else memory.path}")
    if memory.note:
        print(f"metagd: {memory.note}")


def sweep(line: Line, names: Names) -> None:
    """Train with every combination of the swept settings, and store and display the result."""
    from ...analysis.sweep import sweep
    from .sweep_display import SweepDisplay

    watch = SweepDisplay(line.plot)
    try:
        parts = run_parts(line, names)
        result = sweep(
            line.word, line.sweep, seeds=line.seeds, search=line.search, watch=watch, **{**line.options, **parts}
        )
    except MetagdError as error:
        raise as_typed(error, line) from None
    watch.close()
    names.space[line.name] = result
    display(result)


def studio(line: Line, names: Names) -> None:
    """Display the studio."""
    from ..studio import studio

    studio()


def _existing(names: Iterable[str]) -> str:
    """Return ``there are a, b``, or ``there are none yet``."""
    names = list(names)
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none yet'}"


FUNCTIONS: dict[str, Callable[[Line, Names], None]] = {
    function.__name__: function for function in (check, compare, export, recognise, remember, studio)
}  # `resume` continues a run under its cell, so it is part of `cell`
