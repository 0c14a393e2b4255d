"""What the house style counts: lengths, and the edges at which any exception may be caught."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agent_runtime", "caylex_project", "demo", "skills_app", "tasks_app")
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60

# Where whatever goes wrong must be caught, because nothing above could do better.
EDGES = {
    "agent_runtime/mcp/session.py": "the SDK's own errors, at the edge to it",
    "caylex_project/web/request_limits.py": "a request that broke becomes an answer in our shape",
    "tasks_app/operations/bulk.py": "what broke is counted; the others are done",
    "tasks_app/webhooks/sender.py": "a message whose sending broke must not come round for ever",
    "tasks_app/worker/engine.py": "a task that broke is let go; a loop that broke ends the process",
    "tasks_app/worker/journal/journal.py": "the driver that waits gets whatever a write raises",
    "tasks_app/worker/process/supervisor.py": "a child that broke ends with a code",
}


def modules() -> Iterator[tuple[str, ast.Module, int]]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "migrations" not in path.parts:
                text = path.read_text()
                yield str(path.relative_to(ROOT)), ast.parse(text), text.count("\n")


def test_modules_are_short() -> None:
    assert [name for name, _, lines in modules() if lines > MAX_MODULE_LINES] == []


def test_functions_are_short() -> None:
    long = [
        f"{name}:{node.name}"
        for name, tree, _ in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert long == []


def catches_everything(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (
        isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
    )


def raises(handler: ast.ExceptHandler) -> bool:
    """Tell whether the handler only cleans up and passes the exception on."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_any_exception_is_caught_at_the_listed_edges_alone() -> None:
    found = {
        name
        for name, tree, _ in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and catches_everything(node) and not raises(node)
    }
    assert found - set(EDGES) == set()
    assert set(EDGES) - found == set(), "an edge is listed that is none"


def test_the_time_is_asked_of_the_clock_that_the_database_sets() -> None:
    others = [
        f"{name}:{node.lineno}"
        for name, tree, _ in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "timezone.now"
    ]
    assert others == []
