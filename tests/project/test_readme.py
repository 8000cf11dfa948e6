"""README says what is true: generated tables, a badge only with an address, and the commands that are run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.hyperparameters import hyperparameters
from metagd_nb.notebook.magic import table
from metagd_nb.training.stopping import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command(name: str) -> str:
    """The one line between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    (line,) = re.findall(rf"<!-- {name} -->\n```sh\n(.+)\n```\n<!-- /{name} -->", README)
    return str(line)


def test_generated_parts_are_up_to_date() -> None:
    assert table.readme(ROOT / "README.md") == README, "run: python -m metagd_nb.notebook.magic.table README.md"


def test_every_method_and_option_is_in_the_tables() -> None:
    """Read as a person would: find the option's row of this method, and its default there."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in README.splitlines() if "| `" in line
    ]
    for name, cls in ALGORITHMS.items():
        assert [f"`{name}`", table.first_line(cls), cls.source] in rows
        for option in hyperparameters(cls).values():
            mine = {f"`{name}`", "every meta-learning method" if cls.setting == "meta" else ""}
            (row,) = [r for r in rows if r[0] == f"`{option.option}`" and len(r) == 5 and mine & set(r[1].split(", "))]
            usual, *exceptions = row[2].split("; ")
            defaults = dict(exception.split() for exception in exceptions)
            assert defaults.get(f"`{name}`", usual) == table.shown(option.default)
            assert row[3].replace("\\", "") == option.allowed
    for option in hyperparameters(Settings).values():
        assert [f"`{option.option}`", "every method", table.shown(option.default)] in [row[:3] for row in rows]


def test_a_stale_table_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    text = "a\n<!-- badge -->\nold\n<!-- /badge -->\n<!-- methods -->\nold\n<!-- /methods -->\nz\n"
    (tmp_path / "README.md").write_text(text)
    made = table.readme(tmp_path / "README.md")
    assert (
        made
        == f"a\n<!-- badge -->\n<!-- /badge -->\n<!-- methods -->\n{table.markdown_table()}\n<!-- /methods -->\nz\n"
    )
    (tmp_path / "README.md").write_text(made)
    assert table.readme(tmp_path / "README.md") == made
    with pytest.raises(ValueError, match="no <!-- x -->"):
        table.generated(text, {"x": "y"})


@pytest.mark.parametrize(
    ("urls", "target"),
    [
        ({"Repository": "https://github.com/a/b"}, "gh/a/b/HEAD"),
        ({"Repository": "https://github.com/a/b.git"}, "gh/a/b/HEAD"),
        ({"Repository": "https://gitlab.com/a/b/"}, "gl/a%2Fb/HEAD"),
        ({"Repository": "https://example.org/b"}, "git/https%3A%2F%2Fexample.org%2Fb/HEAD"),
        ({"Documentation": "https://example.org"}, None),
        ({}, None),
    ],
)
def test_the_badge_is_built_from_the_address_or_left_out(urls: dict[str, str], target: str | None) -> None:
    made = table.badge(urls, "notebooks/01-a b.ipynb")
    if target is None:
        assert made == ""
    else:
        assert made.endswith(f"(https://mybinder.org/v2/{target}?labpath=notebooks/01-a%20b.ipynb)")


def test_links_and_pictures_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
    for picture in (ROOT / "notebooks").rglob("*.png"):
        assert picture.stat().st_size <= 150_000, picture


def test_ci_runs_the_very_line() -> None:
    """CI takes the line out of README, so the two cannot drift apart."""
    assert command("test") == 'python3 -m venv .venv && .venv/bin/pip install -q -e ".[test]" && .venv/bin/pytest'
    script = ROOT / ".ci" / "run"
    done = subprocess.run(["bash", str(script), "--show"], capture_output=True, text=True, check=True)
    assert done.stdout == command("test") + "\n"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def test_the_first_command_starts_the_lab() -> None:
    assert command("start").endswith('-e ".[tutorials]" && .venv/bin/metagd lab')


def test_nothing_of_one_machine() -> None:
    """No machine's paths and no registry's host in what a reader or Binder gets."""
    machine = re.compile(r"/work/|/tmp/|/root/|/home/\w|pypi\.|pythonhosted|npmjs|debian\.org")
    files = [ROOT / "README.md", ROOT / "pyproject.toml", ROOT / ".ci" / "run", *(ROOT / "binder").iterdir()]
    assert [path.name for path in files if machine.search(path.read_text(encoding="utf-8"))] == []
