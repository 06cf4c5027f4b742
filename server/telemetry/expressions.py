"""Expressions over the channels of one site, as `SO2 / (21 - O2) * 15 > 35`. Pure.

Arithmetic, comparisons, `and`, `or`, `not`, `a if b else c`, and the functions `abs`, `min` and `max`; a factor is
named by its code with `_` for what no name may hold: `PM2_5`, `NH3_N`. There are no loops, powers, texts or attributes,
so that a value costs no more than the expression is long. What is allowed is checked when a rule is written;
`simpleeval` evaluates it with nothing else within reach.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

from schemas.telemetry import FACTORS

LENGTH_LIMIT_CHARS = 200
NODES_LIMIT = 100
"""Most operators, names and numbers of one expression."""
FUNCTIONS: Mapping[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max}
OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_SHAPES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.IfExp, ast.Load)
NAMES: Mapping[str, str] = {re.sub(r"\W", "_", code): code for code in FACTORS}
"""What an expression calls a factor → the factor's code."""


class Expression:
    """A checked expression."""

    def __init__(self, text: str) -> None:
        """Check and prepare an expression.

        Raises:
            ValueError: it is too long, is no expression, or holds something that is not allowed.
        """
        if len(text) > LENGTH_LIMIT_CHARS:
            raise ValueError(f"longer than {LENGTH_LIMIT_CHARS} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise ValueError("not an expression") from error
        nodes = list(ast.walk(tree))
        if len(nodes) > NODES_LIMIT:
            raise ValueError(f"more than {NODES_LIMIT} operators, names and numbers")
        called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        for node in nodes:
            _check(node, is_function=id(node) in called)
        names = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in called}
        if not names:
            raise ValueError("names no factor")
        self.factors = frozenset(NAMES[name] for name in names)
        """The codes of the factors it speaks of."""
        self._text, self._node = text, tree.body
        self._names = {name: NAMES[name] for name in names}
        self._evaluator = SimpleEval(operators=dict(OPERATORS), functions=dict(FUNCTIONS), names={})

    def value(self, values: Mapping[str, float]) -> float | None:
        """Return what it comes to: 1 and 0 for true and false; None if a value is missing or the result no number.

        Args:
            values: factor's code → value.
        """
        if not self.factors <= values.keys():
            return None
        self._evaluator.names = {name: values[code] for name, code in self._names.items()}
        try:
            result = float(self._evaluator.eval(self._text, previously_parsed=self._node))
        except (ArithmeticError, TypeError, ValueError, InvalidExpression):
            return None
        return result if math.isfinite(result) else None


def _check(node: ast.AST, *, is_function: bool) -> None:
    """Refuse whatever is not named in the description of this module.

    Raises:
        ValueError: saying what.
    """
    if isinstance(node, ast.Name):
        if node.id not in (FUNCTIONS if is_function else NAMES):
            raise ValueError(f"unknown name {node.id}")
    elif isinstance(node, ast.Constant):
        if not isinstance(node.value, int | float) or isinstance(node.value, bool):
            raise ValueError("only numbers may stand in it")
    elif isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.keywords or not node.args:
            raise ValueError("only abs, min and max may be called")
    elif not isinstance(node, _SHAPES) and type(node) not in OPERATORS:
        raise ValueError(f"{type(node).__name__} is not allowed")
