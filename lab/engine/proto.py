"""Pulumi's protocol modules, loaded without the SDK around them.

Importing `pulumi.runtime.proto` imports the whole SDK first; that is a tenth of a second of each of
the three processes that every preview starts.
"""

import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulumi.runtime.proto import (
        engine_pb2,
        engine_pb2_grpc,
        language_pb2,
        language_pb2_grpc,
        plugin_pb2,
        provider_pb2,
        provider_pb2_grpc,
    )
else:
    from pathlib import Path

    _folder = Path(importlib.util.find_spec("pulumi").origin).parent / "runtime" / "proto"
    _name = "lab_pulumi_proto"
    _spec = importlib.util.spec_from_file_location(
        _name, _folder / "__init__.py", submodule_search_locations=[str(_folder)]
    )
    sys.modules[_name] = importlib.util.module_from_spec(_spec)

    def _load(module: str) -> object:
        return importlib.import_module(f"{_name}.{module}")

    engine_pb2, engine_pb2_grpc = _load("engine_pb2"), _load("engine_pb2_grpc")
    language_pb2, language_pb2_grpc = _load("language_pb2"), _load("language_pb2_grpc")
    provider_pb2, provider_pb2_grpc = _load("provider_pb2"), _load("provider_pb2_grpc")
    plugin_pb2 = _load("plugin_pb2")

__all__ = [
    "engine_pb2",
    "engine_pb2_grpc",
    "language_pb2",
    "language_pb2_grpc",
    "plugin_pb2",
    "provider_pb2",
    "provider_pb2_grpc",
]
