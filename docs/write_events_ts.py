"""Write `events.ts`, the plain events as TypeScript types, from their JSON Schema:

python docs/write_events_ts.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asgi_llmstream.formats import Events

FILE = Path(__file__).with_name("events.ts")

_HEAD = "// Written by docs/write_events_ts.py from the JSON Schema at GET /events/schema.\n"
_NAMES = {"integer": "number", "string": "string", "boolean": "boolean", "null": "null"}


def typescript(schema: dict[str, Any]) -> str:
    """Return the types of what the schema describes: a union of objects, each with its `type`."""
    definitions = schema["$defs"]
    events = [_type_of(event) for event in schema["oneOf"]]
    types = ",\n".join(f"  {_type_of(definitions[e]['properties']['type'])}" for e in events)
    union = "".join(f"\n  | {event}" for event in events)
    name = schema["title"]
    return "\n".join(
        [
            _HEAD,
            *(line for known in definitions.items() for line in _interface(*known)),
            f"/** {schema['description']} */",
            f"export type {name} ={union};\n",
            f"export const EVENT_TYPES = [\n{types},\n] as const;\n",
        ]
    )


def _interface(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"/** {schema['description']} */"
    yield f"export interface {name} {{"
    for field, described in schema["properties"].items():
        mark = "" if field in schema["required"] else "?"
        yield f"  {field}{mark}: {_type_of(described)};"
    yield "}\n"


def _type_of(schema: dict[str, Any]) -> str:
    match schema:
        case {"$ref": str(reference)}:
            return reference.rpartition("/")[2]
        case {"enum": list(values)}:
            return " | ".join(map(json.dumps, values))
        case {"anyOf": list(kinds)}:
            return " | ".join(map(_type_of, kinds))
        case {"type": "array", "items": dict(items)}:
            return f"({_type_of(items)})[]"
        case {"type": "object"}:
            return "Record<string, unknown>"
        case {"type": str(name)}:
            return _NAMES[name]
        case _:
            return "unknown"


if __name__ == "__main__":
    schema = Events().schema()
    assert schema is not None
    FILE.write_text(typescript(schema))
