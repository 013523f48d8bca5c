"""Which tests stay together when they are spread over processes."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those of a file; of the file that deploys whole stacks, those of a stack."""
    for item in items:
        call = getattr(item, "callspec", None)  # of a test with parameters
        stack = call.params.get("site", "") if call else ""
        item.add_marker(pytest.mark.xdist_group(f"{item.path}{stack}"))
