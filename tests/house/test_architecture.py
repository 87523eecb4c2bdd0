"""The house's one rule: imports point up the list of layers, and never in circles."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import asgi_llmstream

NAME = "asgi_llmstream"
PACKAGE = Path(asgi_llmstream.__file__).parent

# What lives where, from top to bottom: a room may import those above it and those beside it.
LAYERS: list[set[str]] = [
    {"errors", "chunks", "events", "calls", "clock", "options", "request", "sse"},  # the words
    {"sources"},
    {"lifecycle", "message"},
    {"formats"},
    {"backend"},
    {"producers"},
    {"arguments"},
    {"runtime"},
    {"stores"},
    {"resume"},
    {"asgi", "foreign"},
    {"starlette", "fastapi", "litestar", "testing", "cli", "demo", "__main__"},  # thin, on top
]
LAYER_OF = {room: number for number, layer in enumerate(LAYERS) for room in layer}

# Folders with one door: nobody outside imports a module behind it.
DOORS = {"sse", "lifecycle", "message", "backend", "producers", "runtime", "stores", "resume"}

IMPURE = {"asyncio", "anyio", "trio", "time", "socket", "threading"}
# The one place that asks the system for the time; everybody else has a clock passed in.
IMPURE_BY_PURPOSE = {("clock", "time")}
PURE_ROOMS = set().union(*LAYERS[: LAYER_OF["backend"]])

Module = tuple[str, ...]
"""A module's path below the package: ("sources", "openai"); () is the package itself."""


class Import(NamedTuple):
    line: int
    absolute: str


def modules() -> dict[Module, Path]:
    found: dict[Module, Path] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[parts[:-1] if parts[-1] == "__init__" else parts] = path
    return found


MODULES = modules()


def imports_of(source: str, module: Module, *, is_package: bool) -> Iterator[Import]:
    """Every import of `source`, also those inside functions, as absolute dotted names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = [NAME, *module] if is_package else [NAME, *module[:-1]]
                above = here[: len(here) - (node.level - 1)]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                # `from . import openai` means the module where there is one of that name.
                dotted = f"{base}.{alias.name}"
                yield Import(node.lineno, dotted if _inside(dotted) in MODULES else base)


def _inside(dotted: str) -> Module | None:
    """The module's path below the package; None if it is somebody else's."""
    first, *rest = dotted.split(".")
    return tuple(rest) if first == NAME else None


def complaints(source: str, module: Module, *, is_package: bool = False) -> list[str]:
    """Which imports of `source` point down the list of layers, or past a door."""
    found = []
    for line, absolute in imports_of(source, module, is_package=is_package):
        target = _inside(absolute)
        if target is None or not module:
            continue  # somebody else's; or the package's own face, which shows everything
        where = f"{'.'.join(module)}, line {line}: "
        if not target:
            found.append(f"{where}imports the package itself instead of the room it needs")
        elif target[0] not in LAYER_OF:
            found.append(f"{where}imports the unknown room {target[0]!r}: give it a layer")
        elif LAYER_OF[target[0]] > LAYER_OF[module[0]]:
            found.append(f"{where}{module[0]!r} stands above {target[0]!r} and must not import it")
        elif target[0] in DOORS and target[0] != module[0] and target in MODULES:
            if len(target) > 1:
                found.append(f"{where}{target[0]!r} has a door: import from there")
    return found


def _name(module: Module) -> str:
    return ".".join(module) or NAME


@pytest.mark.parametrize("room", sorted({module[0] for module in MODULES if module}))
def test_every_room_has_its_layer(room: str) -> None:
    assert room in LAYER_OF, f"the room {room!r} is unknown: give it a layer"


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_imports_point_up_the_list_of_layers(module: Module) -> None:
    if module and module[0] not in LAYER_OF:
        pytest.fail(f"the room {module[0]!r} is unknown: give it a layer")
    path = MODULES[module]
    assert complaints(path.read_text(), module, is_package=path.stem == "__init__") == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[Module, set[Module]] = {}
    for module, path in MODULES.items():
        is_package = path.stem == "__init__"
        targets = {
            _inside(i.absolute) for i in imports_of(path.read_text(), module, is_package=is_package)
        }
        graph[module] = {target for target in targets if target is not None}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(map(_name, error.args[1]))}")


PROTOCOLS = {m[1] for m in MODULES if m[:1] == ("formats",) and m[2:]} - {"shapes"}


def test_no_protocol_imports_another_and_all_have_the_same_rooms() -> None:
    assert len(PROTOCOLS) == 7
    for module, path in MODULES.items():
        if module[:1] == ("formats",) and module[2:]:
            is_package = path.stem == "__init__"
            for line, absolute in imports_of(path.read_text(), module, is_package=is_package):
                to = (_inside(absolute) or ())[:2]
                sideways = to[:1] == ("formats",) and {*to[1:]} & PROTOCOLS - {module[1]}
                assert not sideways, f"{_name(module)}, line {line}: what two share is a shape"
    for protocol in PROTOCOLS:
        assert {("formats", protocol, room) for room in ("stream", "request")} <= MODULES.keys()


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m and m[0] in PURE_ROOMS], ids=lambda m: ".".join(m)
)
def test_layers_above_the_backend_know_no_tasks_no_time_and_no_io(module: Module) -> None:
    path = MODULES[module]
    imported = {
        absolute.split(".")[0]
        for _, absolute in imports_of(path.read_text(), module, is_package=path.stem == "__init__")
    }
    assert {
        name for name in imported & IMPURE if (module[0], name) not in IMPURE_BY_PURPOSE
    } == set()


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from .message import Message", ("chunks",)),
        ("def f():\n    from .asgi.app import ChatApp", ("errors",)),
        ("import asgi_llmstream.runtime.ticker", ("lifecycle", "machine")),
        ("from ..runtime.ticker import Ticker", ("asgi", "delivery")),
        ("from ...asgi.stream import LLMStream", ("formats", "events", "stream")),
        ("from asgi_llmstream.cli import main", ("asgi", "stream")),
        ("from . import Text", ("options",)),
        ("from .. import Text", ("sources", "openai")),
        ("from . import asgi", ("errors",)),
    ],
)
def test_an_import_that_points_down_or_at_the_package_is_found(source: str, module: Module) -> None:
    assert len(complaints(source, module)) == 1


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from .errors import BadRequest", ("chunks",)),
        ("from ..wire import dumps", ("formats", "events", "stream")),
        ("from ..chunks import Text", ("sources", "openai")),
        ("from . import chunks", ("request",)),
        ("import msgspec, asyncio", ("runtime", "ticker")),
        ("from ..runtime import Ticker", ("asgi", "delivery")),
    ],
)
def test_an_import_that_points_up_is_fine(source: str, module: Module) -> None:
    assert complaints(source, module) == []


def test_importing_the_package_pulls_in_no_framework_no_sdk_and_no_server() -> None:
    unwanted = [
        "fastapi",
        "starlette",
        "litestar",
        "uvicorn",
        "hypercorn",
        "granian",
        "openai",
        "anthropic",
        "httpx",
        "httpx2",
        "pydantic",
        "click",
        "typer",
        "redis",
        "opentelemetry",
        "trio",
    ]
    # A process of its own, since the tests around this one import most of them.
    script = (
        "import asgi_llmstream as package, json, sys;"
        "print(json.dumps([package.__file__, *sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    where, *loaded = json.loads(done.stdout)
    assert Path(where).parent == PACKAGE
    assert f"{NAME}.asgi.stream" in loaded
    assert [name for name in unwanted if name in loaded] == []


NOT_A_BEGINNING = {"Args:", "What", "Whether", "How", "Why", "When", "Which", "Where", "It"}


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_docstring_begins_with_a_verb_or_a_noun(module: Module) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    documented = [
        (node.name, (ast.get_docstring(node) or "-").split()[0])
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, kinds)
    ]
    assert [name for name, first in documented if first in NOT_A_BEGINNING] == []


def test_the_architecture_page_names_every_room() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    rooms = {module[0] for module in MODULES if module} - {"__main__"}
    with_tasks = ("runtime", "resume", "asgi", "foreign")
    rooms |= {m[-1] for m in MODULES if m[0:] and m[0] in with_tasks}
    assert {room for room in rooms if f"`{room}`" not in page and f"`{room}/`" not in page} == set()


PUBLIC = {
    (),
    ("request",),
    ("sse",),
    ("formats",),
    ("stores",),
    ("testing",),
    ("testing", "store_contract"),
    ("demo",),
}


@pytest.mark.parametrize(
    "module", [m for m, path in MODULES.items() if path.stem == "__init__"], ids=_name
)
def test_a_folder_is_public_or_says_that_it_is_private(module: Module) -> None:
    is_protocol = module[:1] == ("formats",) and module[1:] != ("shapes",)
    docstring = ast.get_docstring(ast.parse(MODULES[module].read_text())) or ""
    assert ("Private" in docstring) is not (module in PUBLIC or is_protocol)
