
"use strict";
// Each event means that a second has passed: take the page anew, and put its
// live parts in place of the old ones. What somebody is in is left alone.
const state = document.getElementById("state");
let busy = false, again = false;
async function refresh() {
  if (document.hidden) return;
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.pathname + location.search, {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = document.getElementById("main"), fresh = next.getElementById("main");
    if (main.dataset.shape !== fresh.dataset.shape) {
      const focused = document.activeElement && document.activeElement.id;
      main.replaceWith(fresh);
      if (focused && document.getElementById(focused)) document.getElementById(focused).focus();
    }
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = next.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
      if (!other || other.innerHTML === part.innerHTML || part.contains(document.activeElement)) continue;
      if (other.hasAttribute("href")) part.setAttribute("href", other.getAttribute("href"));
      part.innerHTML = other.innerHTML;
    }
    state.textContent = "";
  } catch {
    state.textContent = "meshd does not answer, last seen";
  } finally {
    busy = false;
    if (again) { again = false; refresh(); }
  }
}
if (!document.getElementById("main").hasAttribute("data-fixed")) {
  const events = new EventSource("/api/v1/events");
  events.onmessage = refresh;
  events.onerror = () => { state.textContent = "meshd does not answer, last seen"; };
  document.addEventListener("visibilitychange", refresh);
}

