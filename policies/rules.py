"""All rules, in the order in which they are said."""

from policies import machines, networks, permissions, storage, tags
from policies.rule import ALL

MODULES = (machines, networks, storage, permissions, tags)
RULES = tuple(ALL)
