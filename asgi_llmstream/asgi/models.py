"""The models of an application: which there are, and who asks for which."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..errors import BadRequest, NotFound
from ..formats.models import model_list, model_object
from ..formats.wire import dumps
from .http import Handler, Receive, Scope, Send, send_json

__all__ = ["Models", "asks_for_anthropic"]


class Models:
    """The models that a `ChatApp` serves, and the routes that list them.

    Args:
        names: of the models; "default" alone stands for any.
        any_model: other names are passed on, too.
        created: when they came, in Unix seconds.
    """

    def __init__(self, names: Sequence[str], any_model: bool, created: int) -> None:
        self._names = [*names]
        self._any_model = any_model or self._names == ["default"]
        self._created = created

    def chosen(self, name: str, *, is_named: bool) -> str:
        """Return the model that a request asks for; the first, if it names none.

        Args:
            name: as the request has it; may be empty.
            is_named: its protocol's requests name one.

        Raises:
            BadRequest: if it names none where it has to.
            NotFound: if there is none of the name.
        """
        if is_named and not name and len(self._names) > 1:
            raise BadRequest("model is required.", param="model", code="missing_field")
        if name and not self._any_model and name not in self._names:
            raise _no_model(name)
        return name or self._names[0]

    def handlers(self, path: str) -> dict[str, Handler]:
        """Return what answers at a path, by method; nothing if it is none of these."""
        if path == "/models":
            return {"GET": self._list}
        if path.startswith("/models/"):
            return {"GET": partial(self._one, path.removeprefix("/models/"))}
        return {}

    async def _list(self, scope: Scope, receive: Receive, send: Send) -> None:
        anthropic = asks_for_anthropic(scope)
        models = model_list(self._names, self._created, for_anthropic=anthropic)
        await send_json(send, 200, dumps(models))

    async def _one(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        if name not in self._names:
            raise _no_model(name)
        anthropic = asks_for_anthropic(scope)
        model = model_object(name, self._created, for_anthropic=anthropic)
        await send_json(send, 200, dumps(model))


def asks_for_anthropic(scope: Scope) -> bool:
    """Tell whether the client names a version of Anthropic's API, as those of Anthropic do."""
    return any(name == b"anthropic-version" for name, _ in scope["headers"])


def _no_model(name: str) -> NotFound:
    said = f"There is no model {name!r}: GET /models lists those that there are."
    return NotFound(said, param="model", code="model_not_found")
