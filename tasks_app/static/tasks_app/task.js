"use strict";
// Keep the page true until the task ends.
const root = document.querySelector("[data-live]"), byId = (id) => document.getElementById(id);
async function look() {
  const old = byId("now").dataset;
  if ("ended" in old) return;
  if (!document.hidden) try {
    const query = new URLSearchParams(location.search);
    query.set("seen", old.version);
    const got = await fetch(root.dataset.live + "?" + query);
    if (got.redirected) return;
    const page = new DOMParser().parseFromString(await got.text(), "text/html");
    const focus = document.activeElement.id;
    for (const part of page.querySelectorAll("[data-part]")) {
      for (const each of part.querySelectorAll("details"))
        if (byId(each.id)) each.open = byId(each.id).open;
      byId(part.id).replaceWith(part);
    }
    if (focus) byId(focus)?.focus();
  } catch {}
  setTimeout(look, 2000);
}
setTimeout(look, 2000);
root.onclick = ({ target: { dataset: d } }) => d.copy && navigator.clipboard?.writeText(d.copy);
