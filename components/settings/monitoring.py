"""`site:monitoring` and `site:logs`."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from components.settings.model import InstanceType, Model, matching


class Monitoring(Model):
    """`site:monitoring`"""

    enabled: bool = True
    instance_type: InstanceType = "t3.small"
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 15
    email: (
        Annotated[str, matching(r"[^\s@]+@[^\s@]+\.[^\s@]+", "a mail address such as a@b.example")]
        | None
    ) = None
    webhook: SecretStr | None = None

    @field_validator("webhook")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        text = "https://" if value is None else value.get_secret_value()
        if not text.startswith(("https://", "http://")) or any(c.isspace() for c in text):
            msg = "a URL that takes Alertmanager's messages, such as https://hooks.example/abc"
            raise ValueError(msg)
        return value


class Logs(Model):
    """`site:logs`"""

    # CloudWatch Logs knows these and no others.
    # fmt: off
    retention_days: Literal[
        1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
        3288, 3653,
    ] = 30
    # fmt: on
