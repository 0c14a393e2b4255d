"""Make the pictures of the support guide: `python -m tests.browser.screenshots`.

With a folder as its argument: of every page, at both widths and in both schemes. A database of its
own in a folder that goes away, a web process, and chromium without a screen.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CHROMIUM = "/usr/bin/chromium"
DOCS = ROOT / "docs"
IN_DOCS = {("list", "1440", "light"), ("task", "1440", "dark")}
SIZES = {"1440": (1440, 1000), "390": (390, 844)}


def main(folder: Path) -> None:
    """Take the list and a task's page, wide and narrow, light and dark."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DATABASE_URL"] = f"sqlite:///{scratch}/pictures.sqlite3"
        os.environ["DEBUG"] = "1"
        os.environ["DJANGO_SETTINGS_MODULE"] = "caylex_project.settings"
        import django

        django.setup()
        paths = _seed()
        from tests.api.web import running_web

        with running_web() as web:
            _take(web.address, paths, folder)


def _seed() -> dict[str, str]:
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.utils import timezone

    from caylex_project.accounts.audit import record
    from tasks_app.admin.payloads import LOOK
    from tests.browser.scene import Scene

    call_command("migrate", verbosity=0)
    ada = User.objects.create_superuser("ada", password="a-long-password")
    done, busy = Scene(timezone.now()).play()
    record(actor=ada, action=LOOK, on=done, project_id=done.project_id, now=timezone.now())
    page = "/admin/tasks_app/agenttask/"
    return {
        "list": page,
        "task": f"{page}{done.pk}/change/",
        "running": f"{page}{busy.pk}/change/",
        "confirm": f"{page}cancel/?task={busy.pk}",
    }


def _take(address: str, paths: dict[str, str], folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, (x, y) in SIZES.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": x, "height": y}, color_scheme=scheme)
                page.goto(f"{address}/admin/")
                page.fill("#id_username", "ada")
                page.fill("#id_password", "a-long-password")
                page.click("[type=submit]")
                for name, path in paths.items():
                    if folder == DOCS and (name, width, scheme) not in IN_DOCS:
                        continue
                    page.goto(address + path)
                    picture = folder / f"admin-{name}-{width}-{scheme}.png"
                    page.screenshot(path=picture, full_page=name != "list")
                page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
