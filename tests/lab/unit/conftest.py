"""What the tests of the lab's own code share."""

from collections.abc import Iterator

import pytest

from lab import ec2_model, interface_model


@pytest.fixture(scope="module")
def corrected() -> Iterator[None]:
    """moto as the lab has it; whoever comes next in this process has it as it was."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (ec2_model, interface_model):
            patch.setattr(module, "setattr", patch.setattr, raising=False)
        ec2_model.install()
        yield
