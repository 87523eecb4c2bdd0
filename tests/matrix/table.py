"""The clients of the matrix: what is installed of each, and in which protocols it speaks."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CLIENTS", "Client", "Row"]


class Client(NamedTuple):
    """A client as users install it.

    Attributes:
        name: of the client, and of the room that it is installed in.
        script: in `clients/`; a `.py` or a `.mjs`.
        apis: the words by which the script knows what to speak; each is a row of the table.
        packages: for pip or npm, as their command lines have them.
        quick: whether it is among those that CI installs for the other tests anyway.
    """

    name: str
    script: str
    apis: tuple[str, ...]
    packages: tuple[str, ...]
    quick: bool = False

    @property
    def rows(self) -> list[Row]:
        return [Row(self, api) for api in self.apis]

    @property
    def language(self) -> str:
        return "node" if self.script.endswith(".mjs") else "python"


class Row(NamedTuple):
    """A client that speaks one of its protocols."""

    client: Client
    api: str

    def __str__(self) -> str:
        return f"{self.client.name} {self.api}"


CLIENTS = (
    Client("openai-py", "openai_sdk.py", ("chat", "responses"), ("openai",), quick=True),
    Client(
        "anthropic-py",
        "anthropic_sdk.py",
        ("messages", "tool_runner"),
        ("anthropic",),
        quick=True,
    ),
    Client("openai-agents", "openai_agents.py", ("chat", "responses"), ("openai-agents",)),
    Client(
        "langchain-openai",
        "langchain_models.py",
        ("chat", "responses"),
        ("langchain-openai",),
        quick=True,
    ),
    Client("langchain-anthropic", "langchain_models.py", ("messages",), ("langchain-anthropic",)),
    Client(
        "pydantic-ai",
        "pydantic_agent.py",
        ("chat", "responses", "messages"),
        ("pydantic-ai-slim[openai,anthropic]",),
        quick=True,
    ),
    Client("litellm", "litellm_calls.py", ("chat", "responses", "messages"), ("litellm",)),
    Client(
        "llama-index",
        "llama_index_models.py",
        ("chat", "responses", "messages"),
        ("llama-index-llms-openai-like", "llama-index-llms-anthropic", "anthropic<1"),
    ),
    Client(
        "haystack",
        "haystack_generators.py",
        ("chat", "responses", "messages"),
        ("haystack-ai", "anthropic-haystack"),
    ),
    Client("smolagents", "smol_model.py", ("chat",), ("smolagents[openai]",)),
    Client("ag-ui-py", "ag_ui_events.py", ("ag-ui",), ("ag-ui-protocol", "httpx"), quick=True),
    Client("openai-node", "openai_sdk.mjs", ("chat", "responses"), ("openai",), quick=True),
    Client(
        "anthropic-node",
        "anthropic_sdk.mjs",
        ("messages", "tool_runner"),
        ("@anthropic-ai/sdk",),
        quick=True,
    ),
    *(
        Client(
            f"ai-{version}",
            "ai_sdk.mjs",
            ("compatible", "chat", "responses", "messages"),
            (
                f"ai@{version}",
                f"@ai-sdk/openai@{version - 3}",
                f"@ai-sdk/openai-compatible@{version - 4}",
                f"@ai-sdk/anthropic@{version - 3}",
            ),
            quick=version == 7,
        )
        for version in (5, 6, 7)
    ),
    *(
        Client(f"ai-{version}-ui", "ai_ui.mjs", ("ui",), (f"ai@{version}",), quick=version == 7)
        for version in (5, 6, 7)
    ),
    Client("ag-ui-node", "ag_ui.mjs", ("ag-ui",), ("@ag-ui/client",), quick=True),
    Client("tanstack", "tanstack.mjs", ("ag-ui",), ("@tanstack/ai-client",), quick=True),
)
