"""A release that cannot start, as releases sometimes cannot."""

raise RuntimeError("the guest book's ink has run dry")
