# SPDX-License-Identifier: GPL-2.0
"""Integer constants of C headers, as the preprocessor leaves them (``gcc -E -dD``). Pure."""

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

# A macro without parameters, or a constant of an enum, on a line of its own.
_MACRO = re.compile(r"#define (\w+) (\S.*)")
_MEMBER = re.compile(r"\s*(\w+) = ([^,;]+),?")
_NUMBER = re.compile(r"\b(0[xX][0-9a-fA-F]+|[0-9]+)(?:[uU]?[lL]{0,2}|[lL]{1,2}[uU])\b")
_MOST_BITS = 64
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.LShift: operator.lshift,
}
_UNARY: dict[type[ast.unaryop], Callable[[int], int]] = {
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}


class _NotConstant(Exception):
    """It is not an integer, or this module can't calculate it."""


class Constants(Mapping[str, int]):
    """The constants, in the order in which they are defined.

    Those whose values are not integers, or not known, are left out.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        """Parse the lines of the preprocessor's output; others are skipped.

        >>> dict(Constants(["#define O_DSYNC 010000", "#define O_SYNC (04000000|O_DSYNC)"]))
        {'O_DSYNC': 4096, 'O_SYNC': 1052672}
        """
        texts: dict[str, str] = {}
        for line in lines:
            if found := _MACRO.fullmatch(line) or _MEMBER.fullmatch(line):
                texts.setdefault(found[1], found[2])  # a macro of an enum's constant is its name
        self._values = _values(texts)

    def __getitem__(self, name: str) -> int:
        """Return the value of a constant."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._values)


def _values(texts: Mapping[str, str]) -> dict[str, int]:
    """Return the values of names by their expressions, in C; without those that have none."""
    known: dict[str, int | None] = {}

    def of(name: str) -> int:
        """Return the value of a name, which is calculated once."""
        if name not in known:
            known[name] = None  # for the time being: it may be a part of itself
            text = _NUMBER.sub(_python, texts[name].strip())
            known[name] = calculate(ast.parse(text, mode="eval").body)
        value = known[name]
        if value is None:
            raise _NotConstant
        return value

    def calculate(node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                return number
            case ast.Name(id=name) if name in texts:
                return of(name)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return _UNARY[type(op)](calculate(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                one, other = calculate(left), calculate(right)
                if isinstance(op, ast.LShift) and not 0 <= other < _MOST_BITS:
                    raise _NotConstant
                value = _OPERATORS[type(op)](one, other)
                if value.bit_length() > _MOST_BITS:
                    raise _NotConstant
                return value
        raise _NotConstant

    for name in texts:
        with suppress(_NotConstant, SyntaxError, ValueError, RecursionError, MemoryError):
            of(name)
    return {name: value for name in texts if (value := known[name]) is not None}


def _python(number: re.Match[str]) -> str:
    """Return a number of C as Python has it: there, a leading 0 makes it octal."""
    digits = number[1]
    return str(int(digits, 8 if digits.startswith("0") and digits.isdigit() else 0))
