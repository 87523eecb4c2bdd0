"""The code on the documents' pages."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["ROOT", "blocks", "write_first_hour"]

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str = "python") -> list[str]:
    """The page's code, each block behind as many empty lines as stand before it."""
    text = (ROOT / page).read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in found]


def write_first_hour(folder: Path, framework: str, *, with_a_model: bool = False) -> None:
    """Write the files of docs/first-hour.md as one who follows it has them in the end."""
    folder.mkdir(exist_ok=True)
    files = {}
    for block in map(str.lstrip, blocks("docs/first-hour.md")):
        named, code = block.split("\n", 1)
        files[named.removeprefix("# ")] = code
    written = {
        "chat.py": files["chat.py"],
        "main.py": files[f"main.py, in {framework}"],
        "test_main.py": files["test_main.py"],
    }
    if with_a_model:
        answer = re.compile(r"^async def answer.*?\n\n\n", re.M | re.S)
        written["chat.py"] = answer.sub("", written["chat.py"]) + files["chat.py, with a model"]
    for name, code in written.items():
        (folder / name).write_text(code)
