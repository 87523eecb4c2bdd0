"""What users read first passes their type checkers: mypy in strict mode, and pyright."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks, write_first_hour

pytestmark = pytest.mark.xdist_group("types")  # one after the other: they share a cache

# Short code on a page need not annotate its functions. All else in it is held to every rule.
SHORT = "# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls"
FIRST_HOURS = {
    f"{framework}{'_with_a_model' * with_a_model}": (framework, with_a_model)
    for framework in ("FastAPI", "Litestar")
    for with_a_model in (False, True)
}
# Seconds after which a checker has hung.
PATIENCE = 300


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples, the README's code, and the first hours' files."""
    folder = tmp_path_factory.mktemp("written")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "readme.py").write_text("\n".join([SHORT, *blocks("README.md")]))
    for name, (framework, with_a_model) in FIRST_HOURS.items():
        write_first_hour(folder / name, framework, with_a_model=with_a_model)
    return folder


def check(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path, *what: str) -> None:
    config, cache = str(ROOT / "pyproject.toml"), str(ROOT / ".mypy_cache")
    rules = ["--strict", "--explicit-package-bases"]
    check(folder, "mypy", "--config-file", config, "--cache-dir", cache, *rules, *what)


def test_the_examples_and_the_readme_pass_mypy(written: Path) -> None:
    mypy(written, "examples", "readme.py")


@pytest.mark.parametrize("name", FIRST_HOURS)
def test_the_first_hour_passes_mypy(name: str, written: Path) -> None:
    mypy(written / name, ".")


def test_all_of_them_pass_pyright(written: Path) -> None:
    roots = [path.name for path in written.iterdir() if path.is_dir()]
    roots += [f"examples/{path.name}" for path in (written / "examples").iterdir()]
    settings = {
        "pythonVersion": "3.11",
        "executionEnvironments": [{"root": root, "extraPaths": [str(ROOT)]} for root in roots],
        "extraPaths": [str(ROOT)],
    }
    (written / "pyrightconfig.json").write_text(json.dumps(settings))
    told = check(written, "pyright", "--pythonpath", sys.executable, "--outputjson")
    summary = json.loads(told)["summary"]
    assert summary["filesAnalyzed"] == len([*written.rglob("*.py")])
