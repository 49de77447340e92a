"""CloudWatch's metric math, as far as alarms and dashboards here use it: numbers, + - * /, a sign, SUM([...]) and FILL(m, n).

moto knows no more than an id, and answers anything else with no data; here it is refused.
"""

from __future__ import annotations

import ast
import operator
from datetime import datetime
from typing import Any

import moto.cloudwatch.models

from emulator.aws_request import AwsError
from emulator.patching import patched

Series = dict[Any, float]
"""Values by their moments."""

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def evaluate(expression: str, series: dict[str, Series]) -> Series:
    """What `expression` makes of the series that it names by their ids."""
    try:
        # What is supported of metric math is also Python's syntax.
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        raise _refused(expression, "its syntax isn't known") from None
    moments = {moment for one in series.values() for moment in one}
    found = _value(tree, expression, series, moments)
    if not isinstance(found, dict):
        raise _refused(expression, "it isn't a time series")
    return found


def _value(node: ast.expr, expression: str, series: dict[str, Series], moments: set[Any]) -> Series | float:
    def value(of: ast.expr) -> Series | float:
        return _value(of, expression, series, moments)

    match node:
        case ast.Constant(value=number) if isinstance(number, (int, float)):
            return float(number)
        case ast.Name(id=name) if name in series:
            return series[name]
        case ast.UnaryOp(op=ast.USub(), operand=of):
            return _combined(operator.sub, 0.0, value(of))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _combined(_OPERATORS[type(op)], value(left), value(right))
        case ast.Call(func=ast.Name(id="FILL"), args=[filled, ast.Constant(value=number)]):
            given = value(filled)
            if isinstance(given, dict):
                return {moment: given.get(moment, float(number)) for moment in moments}
        case ast.Call(func=ast.Name(id="SUM"), args=[ast.List(elts=parts)]):
            total: Series = {}
            for part in map(value, parts):
                if not isinstance(part, dict):
                    raise _refused(expression, "SUM takes time series")
                for moment, number in part.items():
                    total[moment] = total.get(moment, 0.0) + number
            return total
    raise _refused(expression, f"{ast.unparse(node)} isn't known")


def _combined(apply: Any, left: Series | float, right: Series | float) -> Series | float:
    """A number stands for the same at each moment; of two series the moments that both have; x / 0 is no value."""
    if not isinstance(left, dict) and not isinstance(right, dict):
        return apply(left, right)
    at_left = left.get if isinstance(left, dict) else lambda _: left
    at_right = right.get if isinstance(right, dict) else lambda _: right
    made: Series = {}
    for moment in left if isinstance(left, dict) else right:
        one, other = at_left(moment), at_right(moment)
        if one is not None and other is not None and not (apply is operator.truediv and other == 0):
            made[moment] = apply(one, other)
    return made


def _refused(expression: str, why: str) -> AwsError:
    return AwsError("ValidationError", f"Error in expression '{expression}': {why} (of the metric math here)")


@patched(moto.cloudwatch.models)
def parse_expression(
    _original: Any, expression: str, results: list[dict[str, Any]]
) -> tuple[list[float], list[datetime]]:
    """As GetMetricData uses it."""
    series = {result["id"]: dict(zip(result["timestamps"], result["values"], strict=True)) for result in results}
    made = sorted(evaluate(expression, series).items())
    return [value for _, value in made], [moment for moment, _ in made]
