"""Property values on the engine's wire: protobuf structs to plain Python values and back.

The plugins tell the engine that they accept no secrets, so it unwraps them on the way in and marks
the same places secret on the way out, as it does for the real aws provider.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf import struct_pb2

Props: TypeAlias = dict[str, Any]
"""A resource's inputs or state, as plain Python values."""

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  a kind of value
_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_ASSET = "c44067f5952c0a294b673a41bacd8c17"
_ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"
_RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS = {
    _UNKNOWN,
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
    "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
    "e48ece36-62e2-4504-bad9-02848725956a",  # archive
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
}


class Unknown:
    """A value that only `up` will know."""

    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Asset:
    """A file or archive that the program handed over; the engine fills in its digest."""

    signature: str
    fields: tuple[tuple[str, Any], ...]

    @property
    def digest(self) -> str:
        """The engine's SHA-256 of the content, or of the archive's contents."""
        return str(dict(self.fields).get("hash", ""))

    @property
    def is_archive(self) -> bool:
        return self.signature == _ARCHIVE

    def get(self, name: str) -> str:
        """Its `path`, `text` or `uri`, or an empty string."""
        value = dict(self.fields).get(name, "")
        return value if isinstance(value, str) else ""


def decode(struct: struct_pb2.Struct) -> Props:
    """Plain values of a struct; nulls are left out, as Pulumi's providers see them."""
    return {
        key: _decode(value)
        for key, value in struct.fields.items()
        if value.WhichOneof("kind") != "null_value"
    }


def encode(props: Mapping[str, Any]) -> struct_pb2.Struct:
    """The struct of plain values."""
    return struct_pb2.Struct(
        fields={key: _encode(value) for key, value in props.items() if value is not None}
    )


def has_unknown(value: Any) -> bool:
    """Whether a value is unknown or holds one that is."""
    if isinstance(value, Unknown):
        return True
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    return False


def _decode(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
        case "list_value":
            return [_decode(item) for item in value.list_value.values]
        case "struct_value":
            return _decode_struct(value.struct_value)
        case _:
            return None


def _decode_struct(struct: struct_pb2.Struct) -> Any:
    signature = struct.fields[_SIGNATURE].string_value if _SIGNATURE in struct.fields else ""
    if not signature:
        return decode(struct)
    if signature in (_ASSET, _ARCHIVE):
        fields = {k: _decode(v) for k, v in struct.fields.items() if k != _SIGNATURE}
        return Asset(signature, tuple(sorted(fields.items())))
    if signature == _SECRET:
        return _decode(struct.fields["value"])
    if signature == _OUTPUT:
        return _decode(struct.fields["value"]) if "value" in struct.fields else UNKNOWN
    if signature == _RESOURCE:
        return _decode(struct.fields["id"]) if "id" in struct.fields else UNKNOWN
    message = f"the engine sent a value of a kind that the lab's plugins do not know: {signature}"
    raise ValueError(message)


def _encode(value: Any) -> struct_pb2.Value:  # noqa: PLR0911  one for each kind
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case Unknown():
            return struct_pb2.Value(string_value=_UNKNOWN)
        case bool():
            return struct_pb2.Value(bool_value=value)
        case int() | float():
            return struct_pb2.Value(number_value=value)
        case str():
            return struct_pb2.Value(string_value=value)
        case Asset():
            fields = {_SIGNATURE: value.signature, **dict(value.fields)}
            return struct_pb2.Value(struct_value=encode(fields))
        case dict():
            return struct_pb2.Value(struct_value=encode(value))  # pyright: ignore[reportUnknownArgumentType]
        case list() | tuple():
            items = [_encode(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
        case _:
            message = f"{type(value).__name__} cannot be sent to the engine"
            raise TypeError(message)
