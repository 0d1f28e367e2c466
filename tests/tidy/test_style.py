"""The house's limits, as tests that name file and line. Each rule is tested on a text that breaks it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for folder in ("engine", "ops") for p in (ROOT / folder).rglob("*.py"))
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
ARGUMENTS_MAX = 6
NESTING_MAX = 3
LINE_LENGTH_MAX = 110
BANNED_WORDS = ("orchestration", "orchestrator", "job", "shard", "activation", "utils")
BANNED_CALLS = ("eval", "exec", "pickle.load", "pickle.loads", "marshal.loads", "yaml.load", "print")
WAIVER = re.compile(r"#.*tidy: (\S+ ){2,}")
# Dapr's own error text contains the word, and clients match on it.
ALLOWED_TEXT = "orchestration has not yet completed"
MAY_EXEC = {"generate.py"}
MAY_PRINT = {"cli", "kafka"}
NESTS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def depth_of(node: ast.AST) -> int:
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        is_elif = isinstance(node, ast.If) and child in node.orelse and isinstance(child, ast.If)
        deepest = max(deepest, depth_of(child) + (isinstance(child, NESTS) and not is_elif))
    return deepest


def limit_problems(text: str) -> Iterator[str]:
    """Each limit that `text` breaks, with its line."""
    lines = text.splitlines()
    if len(lines) > FILE_LINES_MAX and not WAIVER.search(lines[0] + "".join(lines[:12])):
        yield f"1: {len(lines)} lines, at most {FILE_LINES_MAX}"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_LENGTH_MAX and "type: ignore" not in line and "noqa" not in line:
            yield f"{number}: {len(line)} characters, at most {LINE_LENGTH_MAX}"
    for function in functions(ast.parse(text)):
        if WAIVER.search(" ".join(lines[function.lineno - 1 : function.body[0].lineno])):
            continue
        size = (function.end_lineno or function.lineno) - function.lineno + 1
        if size > FUNCTION_LINES_MAX:
            yield f"{function.lineno}: {function.name} has {size} lines, at most {FUNCTION_LINES_MAX}"
        arguments = function.args
        count = len(arguments.posonlyargs + arguments.args)
        count -= bool(arguments.args) and arguments.args[0].arg in ("self", "cls")
        if count > ARGUMENTS_MAX:
            yield f"{function.lineno}: {function.name} takes {count} arguments, at most {ARGUMENTS_MAX}"
        depth = depth_of(function)
        if depth > NESTING_MAX:
            yield f"{function.lineno}: {function.name} nests {depth} deep, at most {NESTING_MAX}"


def word_problems(text: str) -> Iterator[str]:
    """Each identifier in which a banned word stands."""
    for node in ast.walk(ast.parse(text)):
        name = getattr(node, "name", None) or getattr(node, "id", None) or getattr(node, "arg", None)
        for word in BANNED_WORDS:
            if isinstance(name, str) and word in [
                each.lower() for each in re.split(r"_|(?<=[a-z])(?=[A-Z])", name)
            ]:
                yield f"{getattr(node, 'lineno', 1)}: {name!r} contains the word {word!r}"


def call_problems(text: str) -> Iterator[str]:
    """Each call that has no place in a product."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in BANNED_CALLS:
            yield f"{node.lineno}: calls {ast.unparse(node.func)}"


def docstring_problems(text: str) -> Iterator[str]:
    """A module without a sentence on what it is."""
    docstring = ast.get_docstring(ast.parse(text))
    if text.strip() and (not docstring or "." not in docstring):
        yield "1: a module opens with one sentence: what it is"


def of_all(problems: object) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{problem}"
        for path in SOURCES
        for problem in problems(path.read_text(encoding="utf-8"))  # type: ignore[operator]
    ]


def test_files_functions_lines_arguments_and_nesting_keep_their_limits() -> None:
    assert of_all(limit_problems) == []


def test_identifiers_use_the_vocabulary_of_the_field() -> None:
    assert of_all(word_problems) == []


def test_no_call_runs_data_as_code_or_prints_where_a_log_belongs() -> None:
    found = [
        problem
        for problem in of_all(call_problems)
        if not (problem.endswith("exec") and Path(problem.split(":")[0]).name in MAY_EXEC)
        and not (problem.endswith("print") and MAY_PRINT & set(Path(problem.split(":")[0]).parts))
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    assert of_all(docstring_problems) == []


def test_no_file_names_a_registry_host() -> None:
    hosts = re.compile(r"(pypi\.org|pythonhosted\.org|repo1?\.maven|npmjs\.(org|com)|crates\.io)")
    tracked = [
        p
        for p in ROOT.rglob("*")
        if p.is_file() and p.suffix in {".py", ".md", ".toml", ".yml", ".json", ".lock"}
    ]
    outside = {".venv", ".git", "node_modules"}
    found = [
        str(path.relative_to(ROOT))
        for path in tracked
        if not outside & set(path.parts)
        and path != Path(__file__)
        and hosts.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("problems", "text"),
    [
        (limit_problems, "x = 1\n" * 401),
        (limit_problems, f"x = '{'a' * 110}'\n"),
        (limit_problems, "def f():\n" + "    x = 1\n" * 51),
        (limit_problems, "def f(a, b, c, d, e, g, h): ...\n"),
        (limit_problems, "def f(a):\n if a:\n  for b in a:\n   while b:\n    with b: ...\n"),
        (word_problems, "class JobRunner: ...\n"),
        (word_problems, "orchestration = 1\n"),
        (call_problems, "eval('1')\n"),
        (call_problems, "pickle.loads(b'')\n"),
        (docstring_problems, "x = 1\n"),
    ],
)
def test_each_rule_notices_what_it_forbids(problems: object, text: str) -> None:
    assert list(problems(text)) != []  # type: ignore[operator]
