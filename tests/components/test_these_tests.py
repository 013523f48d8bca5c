"""Pulumi's mocks let a test end before what it asserts in an output has run. Ours cannot.

The program has ended, with every output resolved, when a test looks at its recording; so an
assertion is real if it stands in the test's own body or in an invariant that the test calls.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = sorted(HERE.glob("test_*.py"))
CHECKED_BY_CALL = {"invariant", "raises"}
"""What fails by itself when called: pytest's own, and the invariants that are parameters."""


def defined_in(module: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def called(node: ast.AST) -> set[str]:
    functions = [child.func for child in ast.walk(node) if isinstance(child, ast.Call)]
    names = {function.id for function in functions if isinstance(function, ast.Name)}
    return names | {function.attr for function in functions if isinstance(function, ast.Attribute)}


def inside_another_function(test: ast.FunctionDef) -> Iterator[ast.AST]:
    for node in ast.walk(test):
        if node is not test and isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        ):
            yield from ast.walk(node)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_every_test_asserts_in_its_own_body(module: Path) -> None:
    for test in defined_in(module):
        deferred = set(inside_another_function(test))
        own = [n for n in ast.walk(test) if isinstance(n, ast.Assert) and n not in deferred]
        assert own or called(test) & CHECKED_BY_CALL, f"{test.name} asserts nothing"
        assert not any(isinstance(n, ast.Assert) for n in deferred), f"{test.name} defers an assert"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_no_test_waits_for_an_output(module: Path) -> None:
    assert "apply" not in called(ast.parse(module.read_text()))
