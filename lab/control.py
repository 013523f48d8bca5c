"""The lab's own part of its API, for its command line and tests: `/lab/...`."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any, cast, get_args
from wsgiref.types import StartResponse, WSGIEnvironment

from lab import machines, network
from lab.api import json_answer
from lab.facts import Instance
from lab.partitions import Cut, Direction, Scope
from lab.reconcile import Reconciler

PREFIX = "/lab/"


class BadRequest(Exception):  # noqa: N818 - HTTP's name
    """The request asks for what there is not; the message is for the user."""


class Control:
    """A WSGI application over the reconciler."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._routes: dict[tuple[str, str], Callable[[dict[str, Any]], object]] = {
            ("GET", "/lab/ready"): lambda _: {"pid": os.getpid()},
            ("GET", "/lab/status"): lambda _: self._status(),
            ("POST", "/lab/partition"): self._partition,
            ("POST", "/lab/heal"): self._heal,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        route = self._routes.get((method, path.rstrip("/")))
        if route is None:
            known = ", ".join(" ".join(pair) for pair in self._routes)
            error = {"error": f"There is no {method} {path}; there are: {known}."}
            return json_answer("404 Not Found", error, start_response)
        try:
            answer = route(_content(environ))
        except BadRequest as error:
            return json_answer("400 Bad Request", {"error": str(error)}, start_response)
        return json_answer("200 OK", answer, start_response)

    def _status(self) -> dict[str, object]:
        facts = self._reconciler.read()
        rows = [
            {
                "id": instance.id,
                "name": instance.name,
                "role": instance.role,
                "address": instance.address,
                "public": instance.public,
                "state": instance.state,
                "netns": network.name_space(instance.id),
                "pid": _leader(instance.id),
            }
            for instance in sorted(facts.instances.values(), key=lambda instance: instance.name)
        ]
        holders = {eip.address: eip.instance for eip in facts.elastic}
        return {"machines": rows, "addresses": holders, "trouble": self._reconciler.trouble()}

    def _partition(self, asked: dict[str, Any]) -> object:
        """`{"machine": ..., "from": "aws" | "all" | "peer", "peer": ...,
        "direction": "both" | "sends" | "gets"}`."""
        machine = self._machine(asked.get("machine"))
        scope: Scope = _one_of("from", asked.get("from"), get_args(Scope))
        peer = self._machine(asked.get("peer")).id if scope == "peer" else None
        cut = Cut(
            machine.id,
            scope,
            peer,
            _one_of("direction", asked.get("direction", "both"), get_args(Direction)),
        )
        return self._listed(self._reconciler.cut(lambda cuts: cuts | {cut}))

    def _heal(self, asked: dict[str, Any]) -> object:
        """`{"machine": ...}` heals every cut of one machine, `{}` all."""
        if "machine" not in asked:
            return self._listed(self._reconciler.cut(lambda _: frozenset()))
        machine = self._machine(asked["machine"]).id
        return self._listed(
            self._reconciler.cut(
                lambda cuts: frozenset(c for c in cuts if machine not in (c.instance, c.peer))
            )
        )

    @staticmethod
    def _listed(cuts: frozenset[Cut]) -> object:
        return {"cuts": [vars(cut) for cut in sorted(cuts, key=str)]}

    def _machine(self, wanted: object) -> Instance:
        """By id, by what the program calls it, or by its whole name."""
        known = self._reconciler.read().instances.values()
        found = [
            instance
            for instance in known
            if wanted in (instance.id, instance.name) or f"{wanted}".endswith(f"-{instance.name}")
        ]
        if len(found) != 1:
            names = ", ".join(sorted(instance.name for instance in known)) or "none"
            msg = f"There is no one machine {wanted!r}; there are: {names}."
            raise BadRequest(msg)
        return found[0]


def _leader(instance_id: str) -> int | None:
    try:
        return machines.leader(instance_id)
    except FileNotFoundError:  # it is ending this very moment
        return None


def _one_of(what: str, wanted: object, allowed: tuple[Any, ...]) -> Any:
    if wanted in allowed:
        return wanted
    msg = f'"{what}" is {wanted!r}; it must be one of {", ".join(allowed)}.'
    raise BadRequest(msg)


def _content(environ: WSGIEnvironment) -> dict[str, Any]:
    length = environ.get("CONTENT_LENGTH") or "0"
    body = environ["wsgi.input"].read(int(length)) if length.isdigit() else b""
    try:
        content: Any = json.loads(body or b"{}")
    except ValueError as error:
        msg = f"The body is not JSON: {error}."
        raise BadRequest(msg) from error
    if not isinstance(content, dict):
        msg = "The body must be a JSON object."
        raise BadRequest(msg)
    return cast("dict[str, Any]", content)
