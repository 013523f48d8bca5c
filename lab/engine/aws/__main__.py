"""The executable of the plugin: `python -m lab.engine.aws ENGINE`."""

import json
from collections.abc import Mapping
from importlib import metadata

from lab.engine.aws import cloud as api
from lab.engine.aws.lookups import lookups
from lab.engine.aws.table import resource_types
from lab.engine.plugin import Plugin, PluginError, serve

KNOWN_SETTINGS = {"region", "defaultTags", "skipCredentialsValidation", "skipRegionValidation"}


class Aws(Plugin):
    """The aws plugin's table."""

    name = "aws"
    version = metadata.version("pulumi_aws")

    def __init__(self) -> None:
        self.cloud = api.Cloud()
        self.types = resource_types(self.cloud)
        self.functions = lookups(self.cloud)

    def configure(self, variables: Mapping[str, str]) -> None:
        """Take `aws:region` and `aws:defaultTags`; any other setting is refused."""
        settings = {key.rsplit(":", 1)[-1]: value for key, value in variables.items()}
        settings.pop("version", None)
        if unknown := sorted(set(settings) - KNOWN_SETTINGS):
            message = (
                f"the lab's aws plugin does not know the setting aws:{unknown[0]}; "
                f"known are {', '.join(sorted(KNOWN_SETTINGS))}"
            )
            raise PluginError(message)
        tags = json.loads(settings.get("defaultTags") or "{}").get("tags", {})
        self.cloud.configure(settings.get("region", ""), tags)

    def explain(self, error: Exception) -> Exception:
        """Errors of the AWS API as sentences."""
        return api.explain(error)


if __name__ == "__main__":
    serve(Aws())
