"""Runs Pulumi code against mocks and keeps all that it registered, to be asserted on afterwards.

Assertions are plain and synchronous, on plain values: the program has ended when they run. Nothing
is asserted in an `apply`, which a test can leave before it ever runs.
"""

import asyncio
import functools
import json
import runpy
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pulumi
import pulumi.runtime
import yaml
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.stack import run_in_stack

from components import new_secret
from policies import rule

PROJECT = Path(__file__).parents[2]
ACCOUNT = "123456789012"
ZONES = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
SECRET = "made-up-secret-number-"
CERTIFICATE = "-----BEGIN CERTIFICATE-----"
AUTHORITY = (
    f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
    f"{CERTIFICATE}\npublic\n-----END CERTIFICATE-----\n"
)


@dataclass(frozen=True)
class Resource:
    """One resource as the program registered it."""

    type: str
    name: str
    inputs: dict[str, Any]
    """Without the wrapping of secrets."""
    secret: frozenset[str]
    """The inputs that are secret."""
    outputs: dict[str, Any]
    urn: str
    parent: str
    dependencies: frozenset[str]
    """URNs, of explicit dependencies and of those that follow from inputs."""
    options: Any
    """The protobuf request: `protect`, `deleteBeforeReplace`, `ignoreChanges` …"""


@dataclass
class Recording(mocks.MockMonitor):
    """A monitor that plays AWS just well enough, and remembers."""

    zones: list[str] = field(default_factory=lambda: list(ZONES))
    images: dict[str, str] = field(default_factory=lambda: {"": "ami-0123456789abcdef0"})
    registered: list[Resource] = field(default_factory=list[Resource])
    invokes: list[tuple[str, dict[str, Any]]] = field(
        default_factory=list[tuple[str, dict[str, Any]]]
    )
    ids: dict[str, str] = field(default_factory=dict[str, str])
    """Of resources, by URN."""
    stack: str = "test"
    deletion_protection: bool = False
    exports: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        super().__init__(_Mocks(self))

    # What tests ask.

    def subnet_id(self, machine: Resource) -> str:
        """Of an instance: its own, or that of the network interface that it is given."""
        given = machine.inputs.get("primaryNetworkInterface")
        if given is None:
            return cast("str", machine.inputs["subnetId"])
        (interface,) = (
            interface
            for interface in self.of("NetworkInterface")
            if self.ids[interface.urn] == given["networkInterfaceId"]
        )
        return cast("str", interface.inputs["subnetId"])

    def of(self, kind: str) -> list[Resource]:
        """Resources by the last part of their type: `Instance`, `SecurityGroupIngressRule`."""
        return [r for r in self.registered if r.type.rpartition(":")[2] == kind]

    def every(self, kind: str) -> list[Resource]:
        """The same, for saying something of each of them: there has to be one at least."""
        found = self.of(kind)
        assert found, f"the program made no {kind}: nothing was looked at"
        return found

    def one(self, kind: str, name: str) -> Resource:
        """The resource of a kind and name."""
        found = [r for r in self.of(kind) if r.name == name]
        assert len(found) == 1, f"{kind} {name}: {[r.name for r in self.of(kind)]}"
        return found[0]

    def name_of(self, id_: str) -> str:
        """The name of the resource with an id."""
        (urn,) = [urn for urn, known in self.ids.items() if known == id_]
        return urn.rpartition("::")[2]

    def aws(self) -> Iterator[Resource]:
        """Everything that is made in AWS."""
        return (r for r in self.registered if r.type.startswith("aws:"))

    def judged(self) -> list[rule.Resource]:
        """All of it as the rules of `policies/` see it."""
        return [
            rule.Resource(
                type=r.type,
                urn=r.urn,
                properties=r.inputs,
                protected=r.options.protect,
                refers={
                    name: frozenset(of.urns) for name, of in r.options.propertyDependencies.items()
                },
            )
            for r in self.registered
        ]

    # What the SDK calls.

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        answer = super().RegisterResource(request)  # pyright: ignore[reportUnknownMemberType]
        wrapped = _properties(request.object)
        if answer.id:
            self.ids[answer.urn] = answer.id
        self.registered.append(
            Resource(
                type=request.type,
                name=request.name,
                inputs=cast("dict[str, Any]", _plain(wrapped)),
                secret=frozenset(key for key, value in wrapped.items() if _holds_secret(value)),
                outputs=cast("dict[str, Any]", _plain(_properties(answer.object))),
                urn=answer.urn,
                parent=request.parent,
                dependencies=frozenset(request.dependencies),
                options=request,
            )
        )
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if "pulumi:pulumi:Stack" in request.urn:
            self.exports = cast("dict[str, Any]", _plain(_properties(request.outputs)))
        return super().RegisterResourceOutputs(request)  # pyright: ignore[reportUnknownMemberType]


class _Mocks(mocks.Mocks):
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._count = 0

    def call(self, args: mocks.MockCallArgs) -> Any:
        asked = cast("dict[str, Any]", cast("Any", args).args)
        self._recording.invokes.append((args.token, asked))
        match args.token:
            case "aws:index/getCallerIdentity:getCallerIdentity":
                arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/operator/x"
                return {"accountId": ACCOUNT, "arn": arn, "id": ACCOUNT, "userId": "AIDA"}
            case "aws:index/getAvailabilityZones:getAvailabilityZones":
                return {"id": "zones", "names": self._recording.zones}
            case "aws:ec2/getAmi:getAmi":
                images = self._recording.images
                pattern = asked["filters"][0]["values"][0]
                return {"id": images.get(pattern, images[""])}
            case "aws:route53/getZone:getZone":
                return {"id": "ZPUBLIC", "zoneId": "ZPUBLIC", "name": asked["name"]}
            case token:
                raise AssertionError(f"the program asks for something unknown: {token}")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if not args.custom:
            return None, {}
        inputs = cast("dict[str, Any]", cast("Any", args).inputs)
        self._count += 1
        n = self._count
        known: dict[str, dict[str, Any]] = {
            "Instance": {"privateIp": f"10.0.0.{n}"},
            "Eip": {"allocationId": f"eipalloc-{n:08x}", "publicIp": f"203.0.113.{n}"},
            "Zone": {"zoneId": f"Z{n}"},
            "Command": {"stdout": _made(args.name, n)},
            "Stash": {"output": inputs.get("input")},
            "Topic": {"arn": f"arn:aws:sns:eu-central-1:{ACCOUNT}:{inputs.get('name')}"},
        }
        kind = args.typ.rpartition(":")[2]
        prefix = {"Instance": "i", "Volume": "vol", "SecurityGroup": "sg", "Subnet": "subnet"}
        made = {k: v for k, v in inputs.items() if v is not None}
        return f"{prefix.get(kind, kind.lower())}-{n:08x}", made | known.get(kind, {})


def record(
    program: Callable[[], object],
    config: Mapping[str, str] | None = None,
    *,
    secret: list[str] | None = None,
    stack: str = "test",
    recording: Recording | None = None,
) -> Recording:
    """Runs Pulumi code to its end, with all outputs resolved.

    Raises:
        Exception: whatever the code raised.
    """
    recording = recording or Recording()
    recording.stack = stack
    protection = (config or {}).get("site:deletionProtection")
    recording.deletion_protection = protection == "true"

    def run() -> None:
        program()

    # The SDK registers in threads and leaves an event loop open in each: one thread, whose loop is
    # ours to close. It also makes the order of what is registered the same each time.
    loop, threads_loop = asyncio.new_event_loop(), asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # mocks make a stack of their own, on the loop that is set
    thread = ThreadPoolExecutor(1, initializer=asyncio.set_event_loop, initargs=(threads_loop,))
    loop.set_default_executor(thread)
    try:
        mocks.set_mocks(
            recording.mocks, project="site", stack=stack, preview=False, monitor=recording
        )
        pulumi.runtime.set_all_config(
            {"aws:region": "eu-central-1", **(config or {})}, secret_keys=secret or []
        )
        cast("Any", settings).set_root_resource(
            None
        )  # theirs has no outputs; `run_in_stack` makes one that has
        loop.run_until_complete(run_in_stack(run))
    finally:
        cast("Any", settings).set_root_resource(None)
        asyncio.set_event_loop(None)
        loop.close()
        thread.shutdown()
        threads_loop.close()
    return recording


def site(
    given: Mapping[str, object] | None = None,
    more: Mapping[str, str] | None = None,
    **options: Any,
) -> Recording:
    """Runs the whole program with these settings, by key, over the defaults of Pulumi.yaml.

    `more` is configuration of others: `aws:profile`.
    """
    config = {f"site:{key}": _text(value) for key, value in (given or {}).items()}
    main = str(PROJECT / "__main__.py")
    return record(lambda: runpy.run_path(main), {**defaults(), **config, **(more or {})}, **options)


def with_app(given: Mapping[str, object], folder: Path) -> dict[str, object]:
    """Settings with another application: one that needs no package index."""
    app_servers = cast("Mapping[str, object]", given.get("appServers", {}))
    return {**given, "appServers": {**app_servers, "folder": str(folder)}}


def defaults() -> dict[str, str]:
    """The defaults of Pulumi.yaml, which the CLI merges into every stack's configuration."""
    declared: dict[str, Any] = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]
    return {f"site:{k}": _text(v["default"]) for k, v in declared.items() if "default" in v}


def stack_settings(stack: str) -> dict[str, object]:
    """The settings of a stack file of the project."""
    file = PROJECT / f"Pulumi.{stack}.yaml"
    config: dict[str, object] = yaml.safe_load(file.read_text())["config"]
    return {k.removeprefix("site:"): v for k, v in config.items() if k.startswith("site:")}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@functools.cache
def self_signed() -> str:
    """A certificate that is one, with a key that is none."""
    _, mark, certificate = new_secret.self_signed(["203.0.113.1"]).partition(CERTIFICATE)
    return AUTHORITY.partition(CERTIFICATE)[0] + mark + certificate


def _made(name: str, number: int) -> str:
    if "authority" in name:
        return AUTHORITY
    return self_signed() if "certificate" in name else f"{SECRET}{number}"


_SIGNATURE = "4dabf18193072939515e22adb298388d"
_IS_SECRET = "1b47061264138c4ac30d75fd1eb44270"


def _properties(message: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", rpc.deserialize_properties(message))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        items = cast("dict[str, object]", value)
        if items.get(_SIGNATURE) == _IS_SECRET:
            return _plain(items["value"])
        return {key: _plain(item) for key, item in items.items()}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[object]", value)]
    return value


def _holds_secret(value: object) -> bool:
    if isinstance(value, dict):
        items = cast("dict[str, object]", value)
        return items.get(_SIGNATURE) == _IS_SECRET or any(_holds_secret(v) for v in items.values())
    return isinstance(value, list) and any(_holds_secret(v) for v in cast("list[object]", value))
