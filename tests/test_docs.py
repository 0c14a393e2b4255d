"""What the pages say about the project's own files."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_every_relative_link_of_the_pages_leads_to_a_file() -> None:
    links = [(page, target) for page in PAGES for target in LINK.findall(page.read_text())]
    relative = [(page, target) for page, target in links if "://" not in target]

    assert len(relative) > 50
    assert [
        f"{page.name}: {target}" for page, target in relative if not (page.parent / target).exists()
    ] == []


def test_the_architecture_names_every_module_of_the_worker() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    worker = ROOT / "tasks_app" / "worker"
    modules = [each for each in worker.rglob("*.py") if each.name != "__init__.py"]

    assert len(modules) > 20
    assert [
        str(each.relative_to(worker))
        for each in modules
        if f"`{each.relative_to(worker)}`" not in page
    ] == []
