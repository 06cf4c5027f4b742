// Keeps the overview current without a reload: asks for the same sections again and swaps those that changed.
// The page is complete without this script; it only saves the reader from pressing "refresh".
"use strict";
(() => {
  const bar = document.getElementById("live-bar");
  if (!bar) return;
  const every = Number(bar.dataset.everyMs);
  const slowest = 60000;
  const state = bar.querySelector(".live-state");
  const toggle = bar.querySelector(".live-toggle");
  const asOf = state.textContent;
  const clock = document.getElementById("live-at");
  let tag = "";
  let wait = every;
  let paused = false;
  let timer = 0;

  const say = (name, words) => {
    if (bar.dataset.state === name) return;
    bar.dataset.state = name;
    state.textContent = words;
  };

  const figures = () => new Map([...document.querySelectorAll("[data-key]")].map((node) => [node.dataset.key, node.textContent]));

  const swap = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const before = figures();
    const focused = document.activeElement && document.activeElement.getAttribute("href");
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (!next || next.innerHTML === old.innerHTML) continue;
      const held = old.contains(document.activeElement);
      old.replaceChildren(...next.childNodes);
      if (held && focused) old.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    }
    for (const node of document.querySelectorAll("[data-key]")) {
      if (before.get(node.dataset.key) !== node.textContent) node.classList.add("fresh");
    }
  };

  const ask = async () => {
    try {
      const headers = tag ? { "If-None-Match": tag } : {};
      const answer = await fetch(bar.dataset.source, { headers, cache: "no-store", credentials: "same-origin" });
      if (answer.status === 401) return location.reload();
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") || "";
        swap(await answer.text());
      } else if (answer.status !== 304) {
        throw new Error(`status ${answer.status}`);
      }
      clock.textContent = answer.headers.get("X-As-Of") || clock.textContent;
      wait = every;
      if (!paused) say("running", asOf);
    } catch {
      wait = Math.min(wait * 2, slowest);
      say("lost", bar.dataset.lost);
    }
    plan();
  };

  const plan = () => {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(ask, wait);
  };

  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    paused = !paused;
    toggle.setAttribute("aria-pressed", String(paused));
    say(paused ? "paused" : "running", paused ? bar.dataset.paused : asOf);
    if (!paused) wait = every;
    plan();
  });
  document.addEventListener("visibilitychange", plan);
  say("running", asOf);
  plan();
})();
