
"use strict";
// Each event means that a second has passed: take the page anew, put its live
// parts in place of the old ones, and let the pictures load again.
const state = document.getElementById("state");
let busy = false, seconds = 0;
async function refresh() {
  if (busy || document.hidden) return;
  busy = true;
  try {
    const answer = await fetch("/" + location.search, {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = document.getElementById("main"), fresh = next.getElementById("main");
    if (main.dataset.services !== fresh.dataset.services) {
      main.replaceWith(fresh);
    }
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = next.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
      if (other && other.innerHTML !== part.innerHTML && !part.contains(document.activeElement)) part.innerHTML = other.innerHTML;
    }
    if (++seconds % 2 === 0) {
      for (const image of document.querySelectorAll(".charts source, .charts img")) {
        const name = image.localName === "img" ? "src" : "srcset";
        image.setAttribute(name, image.getAttribute(name).replace(/&t=\d+|$/, "&t=" + seconds));
      }
    }
    state.textContent = "";
  } catch {
    state.textContent = "meshd does not answer, last seen";
  } finally {
    busy = false;
  }
}
const events = new EventSource("/api/v1/events");
events.onmessage = refresh;
events.onerror = () => { state.textContent = "meshd does not answer, last seen"; };
