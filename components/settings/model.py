"""What every settings model is."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

WORDED = "worded"
"""The type of an error that has its own words."""


class Model(BaseModel):
    """Frozen, camelCase from outside; a key that it does not know is an error."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,  # `pulumi config set --path` stores digits as numbers
    )


def matching(pattern: str, allowed: str) -> AfterValidator:
    """A text that matches, else what is allowed is said."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(allowed)
        return value

    return AfterValidator(check)


InstanceType = Annotated[
    str,
    matching(r"[a-z][a-z0-9-]*\d[a-z0-9-]*\.[a-z0-9-]+", "an EC2 instance type such as t3.small"),
]
