"""Streams of whatever order a producer yields, read by the clients' own pipelines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from asgi_llmstream.chunks import Chunk, Error, Text, ToolCall
from asgi_llmstream.formats.ag_ui.stream import AGUI
from asgi_llmstream.formats.ui_messages.stream import UIMessages
from tests.support.ag_ui_grammar import read as read_ag_ui
from tests.support.node import Run, node
from tests.support.strategies import ENDINGS, SEQUENCES
from tests.support.ui_grammar import read as read_ui
from tests.support.wire import wire

__all__ = ["node"]


def streams_of(format: Any) -> list[bytes]:
    """The same ones every time."""
    streams: list[bytes] = []

    @settings(deadline=None, max_examples=200, derandomize=True, database=None)
    @given(SEQUENCES, ENDINGS)
    def generate(chunks: list[Chunk], ending: str | Error) -> None:
        if isinstance(ending, Error):
            chunks = [*chunks, ending]
        abort = "gone" if ending in ("fail", "abort") else None
        streams.append(wire(format, *chunks, abort=abort))

    generate()
    return streams


def read_by_client(node: Run, path: Path, client: str, streams: list[bytes]) -> list[Any]:
    path.write_text(json.dumps([(client, stream.decode()) for stream in streams]))
    out = node("streams.mjs", str(path))
    assert out["warnings"] == []
    results: list[Any] = out["results"]
    assert len(results) == len(streams)
    return results


@pytest.mark.parametrize(
    ("client", "strict", "read"),
    [
        ("ui", False, read_ui),
        ("ui", True, read_ui),
        ("ui-v5", True, read_ui),
        # The first of their kind, which are killed by a key that they do not know.
        ("ui-v6", False, read_ui),
        ("ui-v7", False, read_ui),
    ],
)
def test_the_ai_sdk_reads_them_all(
    node: Run, tmp_path: Path, client: str, strict: bool, read: Callable[..., Any]
) -> None:
    streams = streams_of(UIMessages(strict_v5=strict))
    results = read_by_client(node, tmp_path / "streams", client, streams)
    for stream, result in zip(streams, results, strict=True):
        reader = read(stream, strict_v5=strict)
        assert result.get("error") == reader.terminal.get("errorText"), stream
        assert result["text"] == reader.text_of("text")
        assert len(result["calls"]) == len(reader.calls)


def test_ag_uis_client_reads_them_all(node: Run, tmp_path: Path) -> None:
    streams = streams_of(AGUI())
    results = read_by_client(node, tmp_path / "streams", "ag-ui", streams)
    for stream, result in zip(streams, results, strict=True):
        reader = read_ag_ui(stream)
        assert result.get("error") == reader.terminal.get("message"), stream
        assert result.get("finished", False) is (reader.terminal["type"] == "RUN_FINISHED")
        assert result["text"] == reader.text_of("assistant")
        assert sorted(result["calls"]) == sorted(call["id"] for call in reader.calls)


def test_strict_v5_is_what_that_version_needs(node: Run, tmp_path: Path) -> None:
    chunks = [ToolCall("a", "f", "{"), Text("Hi")]
    for format, accepted in ((UIMessages(), False), (UIMessages(strict_v5=True), True)):
        [result] = read_by_client(node, tmp_path / "streams", "ui-v5", [wire(format, *chunks)])
        assert ("error" not in result) is accepted


def test_ag_uis_client_takes_empty_deltas(node: Run, tmp_path: Path) -> None:
    stream = wire(AGUI(), Text("Hi"), ToolCall("a", "f"))
    emptied = re.sub(rb'"delta":"(Hi|{})"', b'"delta":""', stream)
    assert emptied.count(b'"delta":""') == 2
    read_ag_ui(emptied)
    [result] = read_by_client(node, tmp_path / "streams", "ag-ui", [emptied])
    assert (result["text"], result["calls"], result["finished"]) == ("", ["a"], True)
