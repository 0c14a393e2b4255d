"""Make the pictures of the support guide: `python -m tests.browser.screenshots`.

With a folder as its argument: of every page of the admin, at both widths and in both schemes. A
database of its own in a folder that goes away, a web process, and chromium without a screen.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
CHROMIUM = "/usr/bin/chromium"
DOCS = ROOT / "docs"
IN_DOCS = {("list", "1440", "light"), ("task", "1440", "dark")}
SIZES = {"1440": (1440, 1000), "390": (390, 844)}
PASSWORD = "a-long-password"
TASKS = "/admin/tasks_app/agenttask/"
SKILL = "---\nname: weekly-report\ndescription: Counts the tickets.\n---\n\nCount them twice.\n"


def main(folder: Path) -> None:
    """Take the pictures, wide and narrow, light and dark."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DATABASE_URL"] = f"sqlite:///{scratch}/pictures.sqlite3"
        os.environ["DEBUG"] = "1"
        os.environ["DJANGO_SETTINGS_MODULE"] = "caylex_project.settings"
        import django

        django.setup()
        paths = _seed()
        if folder == DOCS:
            paths = {name: paths[name] for name, _, _ in IN_DOCS}
        from tests.support.web_process import running_web

        with running_web() as web:
            _take(web.address, paths, folder)


def _seed() -> dict[str, str]:
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.utils import timezone

    from caylex_project.accounts.audit import record
    from tasks_app.admin.tasks.payloads import LOOK
    from tests.browser.project_rows import furnish
    from tests.browser.support_day import Scene

    call_command("migrate", verbosity=0)
    ada = User.objects.create_superuser("ada", password=PASSWORD)
    scene = Scene(timezone.now())
    done, busy = scene.play()
    record(actor=ada, action=LOOK, on=done, project_id=done.project_id, now=timezone.now())
    limited = User.objects.create_user("omar", is_staff=True)
    standing = furnish(scene, boss=ada, limited=limited)
    return {
        "list": TASKS,
        "task": f"{TASKS}{done.pk}/change/",
        "running": f"{TASKS}{busy.pk}/change/",
        **{name: f"{TASKS}{task.pk}/change/" for name, task in standing.items()},
        "confirm": f"{TASKS}cancel/?task={busy.pk}",
        "none": f"{TASKS}?q=nobody%40example.com",
        "index": "/admin/",
        "password": "/admin/password_change/",
        "second-factor": "/admin/second-factor/",
        **dict(_pages()),
    }


def _pages() -> Iterator[tuple[str, str]]:
    """Yield the list of every model, the newest row's page, and what can be asked about it."""
    from django.contrib import admin

    site: Any = admin.site
    for model, owner in site._registry.items():
        name, start = model._meta.model_name, f"/admin/{model._meta.label_lower.replace('.', '/')}/"
        yield f"{name}-list", start
        row = model._default_manager.order_by("-pk").first()
        yield f"{name}-page", f"{start}{row.pk}/change/"
        for view in ("add", *(f"{row.pk}/{each.name}" for each in _actions(owner)), *_extra(row)):
            yield f"{name}-{view.rpartition('/')[2]}", f"{start}{view}/"


def _actions(owner: Any) -> Any:
    return getattr(owner, "row_actions", ())


def _extra(row: Any) -> tuple[str, ...]:
    return (f"{row.pk}/delete",) if row._meta.model_name == "staffscope" else ()


def _take(address: str, paths: dict[str, str], folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, (x, y) in SIZES.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": x, "height": y}, color_scheme=scheme)
                for name in _walk(page, address, paths):
                    if folder == DOCS and (name, width, scheme) not in IN_DOCS:
                        continue
                    picture = folder / f"admin-{name}-{width}-{scheme}.png"
                    page.screenshot(path=picture, full_page=name != "list")
                page.close()
        browser.close()


def _walk(page: Any, address: str, paths: dict[str, str]) -> Iterator[str]:
    """Yield the name of each page when it is open."""
    page.goto(f"{address}/admin/")
    yield "sign-in"
    page.fill("#id_username", "ada")
    page.fill("#id_password", PASSWORD)
    page.click("[type=submit]")
    for name, path in paths.items():
        if page.goto(address + path).status != 403 and page.url == address + path:
            yield name
    yield from _forms(page, address)


def _forms(page: Any, address: str) -> Iterator[str]:
    """Yield the name of what is answered to a form."""
    page.goto(f"{address}/admin/skills_app/skill/add/")
    page.select_option("#id_project", index=1)
    text = {"name": "SKILL.md", "mimeType": "text/plain", "buffer": SKILL.encode()}
    page.set_input_files("#id_file", text)
    page.click("#content [type=submit]")
    yield "skill-preview"
    page.goto(f"{address}/admin/accounts/platformtoken/add/")
    page.fill("#id_name", "backend of the till")
    page.select_option("#id_tenant", index=1)
    page.click("#content [name=_save]")
    yield "token-shown"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
