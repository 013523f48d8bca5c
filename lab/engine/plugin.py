"""Pulumi's provider protocol, once for both stand-in plugins.

A plugin is a table of `Resource` types and functions. Everything that is the same for all of them
is here: unknown types, check, diff, previews, errors in one sentence, the engine's log, and the
plugin's end when the engine ends.
"""

# ruff: noqa: ARG002  the interface gives every type more than it needs

import contextlib
import os
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
from google.protobuf import any_pb2, empty_pb2
from google.rpc import status_pb2

from lab.engine import schema, serving
from lab.engine.proto import (
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
)
from lab.engine.schema import Change, Failure, Properties
from lab.engine.values import UNKNOWN, Props, decode, encode


class PluginError(Exception):
    """A failure that the user is shown as it is: one clear sentence."""


class Gone(Exception):  # noqa: N818  a fact, not an error
    """The resource does not exist any more."""


@dataclass(frozen=True)
class Call:
    """One operation on one resource, as the engine asked for it."""

    urn: str
    log: Callable[[str], None]

    @property
    def name(self) -> str:
        return self.urn.rsplit("::", 1)[-1]


class Resource(ABC):
    """A resource type. Subclasses declare its properties and say how it is made and unmade."""

    token: ClassVar[str]
    properties: ClassVar[Properties] = {}
    outputs: ClassVar[tuple[str, ...]] = ()
    """What only AWS knows: unknown in a preview of the resource's creation."""

    delete_before_replace: ClassVar[bool] = False
    read_again: ClassVar[bool] = True
    """Whether reality can be read; a command's outputs cannot."""

    def prepare(self, inputs: Props) -> Props:
        """Derived inputs, such as tagsAll."""
        return inputs

    def validate(self, inputs: Props) -> list[Failure]:
        """What is wrong beyond single properties."""
        return []

    def replaces(self, change: Change, inputs: Props) -> bool:
        """Whether this change needs a new resource."""
        return change.replaces

    def unsettled(self, changed: set[str]) -> tuple[str, ...]:
        """Outputs that an update of those inputs makes unknown."""
        return ()

    @abstractmethod
    def create(self, inputs: Props, call: Call) -> str:
        """Make it; its id."""

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:  # noqa: B027
        """What is left to do or to wait for once it exists and has an id."""

    @abstractmethod
    def read(self, resource_id: str, state: Props) -> Props:
        """Its properties as they are. Raises Gone."""

    def update(  # noqa: B027
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        """Change it in place."""

    @abstractmethod
    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        """Unmake it. Raises Gone when it is not there."""


Function = Callable[[Props], Props]


class Plugin(ABC):
    """What one plugin is: its name, its version, its types and functions."""

    name: str
    version: str
    types: Mapping[str, Resource]
    functions: Mapping[str, Function]

    @abstractmethod
    def configure(self, variables: Mapping[str, str]) -> None:
        """Take the provider's configuration."""

    def explain(self, error: Exception) -> Exception:
        """The plugin's own errors as PluginError or Gone."""
        return error

    def cancel(self) -> None:  # noqa: B027
        """Stop what can be stopped."""


class _Aborted(Exception):  # noqa: N818
    """Carries an answer other than success up to the servicer."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def _answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn exceptions into gRPC errors in one sentence."""

    def wrapper(self: "Servicer", request: Any, context: Any) -> Any:
        try:
            return method(self, request)
        except _Aborted as aborted:
            details = (("grpc-status-details-bin", aborted.status.SerializeToString()),)
            context.set_trailing_metadata(details)
            context.abort(grpc.StatusCode.UNKNOWN, aborted.status.message)
        except (PluginError, Gone) as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except NotImplementedError:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method.__name__} is not implemented")
        except Exception as error:  # noqa: BLE001  a defect of ours: say where it is
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119
            name = self.plugin.name
            message = (
                f"defect in the lab's {name} plugin: {type(error).__name__}: {error} ({place})"
            )
            context.abort(grpc.StatusCode.INTERNAL, message)

    return wrapper


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """The provider service of one plugin."""

    def __init__(self, plugin: Plugin, engine: str) -> None:
        self.plugin = plugin
        self._engine_address = engine
        self._engine: Any = None
        self._lock = threading.Lock()

    # ---- the plugin itself

    @_answers
    def Handshake(self, request: Any) -> Any:  # noqa: N802
        self._engine_address = request.engine_address or self._engine_address
        return provider_pb2.ProviderHandshakeResponse()

    @_answers
    def GetPluginInfo(self, request: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self.plugin.version)

    @_answers
    def Attach(self, request: Any) -> Any:  # noqa: N802
        self._engine_address = request.address
        return empty_pb2.Empty()

    @_answers
    def Parameterize(self, request: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    @_answers
    def GetSchema(self, request: Any) -> Any:  # noqa: N802
        return provider_pb2.GetSchemaResponse(
            schema=f'{{"name": "{self.plugin.name}", "version": "{self.plugin.version}"}}'
        )

    @_answers
    def CheckConfig(self, request: Any) -> Any:  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    @_answers
    def DiffConfig(self, request: Any) -> Any:  # noqa: N802
        changed = decode(request.old_inputs or request.olds) != decode(request.news)
        return provider_pb2.DiffResponse(
            changes=(
                provider_pb2.DiffResponse.DIFF_SOME
                if changed
                else provider_pb2.DiffResponse.DIFF_NONE
            )
        )

    @_answers
    def Configure(self, request: Any) -> Any:  # noqa: N802
        with self._lock:
            self._run(self.plugin.configure, dict(request.variables))
        return provider_pb2.ConfigureResponse(
            acceptSecrets=False, supportsPreview=True, acceptResources=False, acceptOutputs=False
        )

    @_answers
    def Cancel(self, request: Any) -> Any:  # noqa: N802
        self.plugin.cancel()
        return empty_pb2.Empty()

    @_answers
    def Invoke(self, request: Any) -> Any:  # noqa: N802
        function = self.plugin.functions.get(request.tok)
        if function is None:
            raise PluginError(self._not_known("function", request.tok, self.plugin.functions))
        found = self._run(function, decode(request.args))
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(encode(found))  # a word that Python keeps for itself
        return response

    # ---- resources

    @_answers
    def Check(self, request: Any) -> Any:  # noqa: N802
        kind = self._type(request.urn)
        inputs, old = decode(request.news), decode(request.olds)
        name = request.urn.rsplit("::", 1)[-1]
        failures = schema.find_failures(self.plugin.name, kind.token, kind.properties, inputs)
        filled = inputs
        if not failures:
            filled = schema.fill_in(kind.properties, inputs, old, name, request.randomSeed)
            filled = kind.prepare(filled)
            failures = kind.validate(filled)
        return provider_pb2.CheckResponse(
            inputs=encode(filled),
            failures=[
                provider_pb2.CheckFailure(property=failure.path, reason=failure.reason)
                for failure in failures
            ],
        )

    @_answers
    def Diff(self, request: Any) -> Any:  # noqa: N802
        kind = self._type(request.urn)
        state, new = decode(request.olds), decode(request.news)
        old = decode(request.old_inputs)
        changes = schema.compare(kind.properties, old, new, state)
        replacing = [change for change in changes if kind.replaces(change, new)]
        details = {
            change.path: provider_pb2.PropertyDiff(
                kind=_kind(change, replaces=change in replacing), inputDiff=True
            )
            for change in changes
        }
        some = provider_pb2.DiffResponse.DIFF_SOME
        none = provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(
            changes=some if changes else none,
            replaces=sorted({change.name for change in replacing}),
            diffs=sorted({change.name for change in changes}),
            detailedDiff=details,
            hasDetailedDiff=True,
            deleteBeforeReplace=bool(replacing) and self._name_is_taken(kind, new, replacing),
        )

    @_answers
    def Create(self, request: Any) -> Any:  # noqa: N802
        kind = self._type(request.urn)
        inputs = decode(request.properties)
        if request.preview:
            chosen = {k: UNKNOWN for k, p in kind.properties.items() if p.computed}
            state = {**dict.fromkeys(kind.outputs, UNKNOWN), **chosen, **inputs}
            return provider_pb2.CreateResponse(properties=encode(state))
        call = self._call(request.urn)
        resource_id = self._run(kind.create, inputs, call)
        state = inputs
        try:
            self._run(kind.settle, resource_id, inputs, call)
            state = self._state(kind, resource_id, inputs)
        except (PluginError, Gone) as error:
            raise _failed_after_creation(resource_id, state, str(error)) from error
        return provider_pb2.CreateResponse(id=resource_id, properties=encode(state))

    @_answers
    def Read(self, request: Any) -> Any:  # noqa: N802
        kind = self._type(request.urn)
        state, inputs = decode(request.properties), decode(request.inputs)
        if not kind.read_again:
            return provider_pb2.ReadResponse(
                id=request.id, properties=request.properties, inputs=request.inputs
            )
        try:
            found = self._run(kind.read, request.id, {**state, **inputs})
        except Gone:
            return provider_pb2.ReadResponse()
        if inputs:
            inputs = schema.overlay(kind.properties, inputs, found)
        else:
            inputs = schema.import_inputs(kind.properties, found)
        return provider_pb2.ReadResponse(
            id=request.id, properties=encode({**state, **found}), inputs=encode(inputs)
        )

    @_answers
    def Update(self, request: Any) -> Any:  # noqa: N802
        kind = self._type(request.urn)
        state, new = decode(request.olds), decode(request.news)
        old = decode(request.old_inputs)
        changed = {c.name for c in schema.compare(kind.properties, old, new, state)}
        kept = {key: value for key, value in state.items() if key in new or _stays(kind, key)}
        if request.preview:
            unsettled = dict.fromkeys(kind.unsettled(changed), UNKNOWN)
            return provider_pb2.UpdateResponse(properties=encode({**kept, **unsettled, **new}))
        self._run(kind.update, request.id, state, new, changed, self._call(request.urn))
        try:
            state = self._state(kind, request.id, {**kept, **new})
        except Gone as error:
            message = f"{kind.token} {request.id} is gone: run `pulumi refresh`"
            raise PluginError(message) from error
        return provider_pb2.UpdateResponse(properties=encode(state))

    @_answers
    def Delete(self, request: Any) -> Any:  # noqa: N802
        kind = self._type(request.urn)
        state = {**decode(request.old_inputs), **decode(request.properties)}
        with contextlib.suppress(Gone):
            self._run(kind.delete, request.id, state, self._call(request.urn))
        return empty_pb2.Empty()

    # ---- helpers

    def _state(self, kind: Resource, resource_id: str, known: Props) -> Props:
        found = self._run(kind.read, resource_id, known)
        return {**known, **{key: value for key, value in found.items() if value is not None}}

    def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except (PluginError, Gone):
            raise
        except Exception as error:
            raise self.plugin.explain(error) from error

    def _type(self, urn: str) -> Resource:
        token = urn.split("::")[2].rsplit("$", 1)[-1]
        kind = self.plugin.types.get(token)
        if kind is None:
            raise PluginError(self._not_known("resource type", token, self.plugin.types))
        return kind

    def _not_known(self, what: str, token: str, known: Mapping[str, object]) -> str:
        return (
            f"the lab's {self.plugin.name} plugin does not know {what} {token}; "
            f"known are {', '.join(sorted(known))}"
        )

    @staticmethod
    def _name_is_taken(kind: Resource, new: Props, replacing: list[Change]) -> bool:
        """As in Pulumi's bridge: a fixed name cannot belong to the old and the new one at once."""
        if kind.delete_before_replace:
            return True
        changed = {change.name for change in replacing}
        named = [key for key, known in kind.properties.items() if known.autoname]
        automatic = new.get(schema.DEFAULTS, [])
        return any(key not in automatic and key not in changed for key in named)

    def _call(self, urn: str) -> Call:
        return Call(urn, lambda message: self._log(urn, message))

    def _log(self, urn: str, message: str) -> None:
        with self._lock:
            if self._engine is None:
                channel = grpc.insecure_channel(self._engine_address)
                self._engine = engine_pb2_grpc.EngineStub(channel)
        self._engine.Log(
            engine_pb2.LogRequest(
                severity=engine_pb2.INFO, message=message, urn=urn, ephemeral=True
            )
        )


def _kind(change: Change, *, replaces: bool) -> Any:
    return change.kind.value + (1 if replaces else 0)  # the protocol's numbers


def _stays(kind: Resource, key: str) -> bool:
    known = kind.properties.get(key)
    return known is None or known.computed


def _failed_after_creation(resource_id: str, state: Props, reason: str) -> _Aborted:
    """The protocol's way to say: it exists, keep its id, but it is not as it should be."""
    detail = any_pb2.Any()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=resource_id, properties=encode(state), reasons=[reason]
        )
    )
    code = grpc.StatusCode.UNKNOWN.value[0]
    return _Aborted(status_pb2.Status(code=code, message=reason, details=[detail]))


def serve(plugin: Plugin) -> None:
    """Serve the plugin until the engine ends this process."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    # Every command that waits for a machine holds a thread.
    server = grpc.server(futures.ThreadPoolExecutor(128), options=unlimited)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(  # pyright: ignore[reportUnknownMemberType]
        Servicer(plugin, serving.engine_address()), server
    )
    serving.serve(server, plugin.cancel)
