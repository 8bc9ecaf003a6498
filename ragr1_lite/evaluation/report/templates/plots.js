"use strict";
/* The values under the pointer, and what every page has: light or dark, the keys' dialog. */

const byId = (id) => document.getElementById(id);

function nearest(steps, wanted) {
  let best = 0;
  steps.forEach((step, place) => { if (Math.abs(step - wanted) < Math.abs(steps[best] - wanted)) best = place; });
  return best;
}

function watch(figure) {
  const { steps, lines, range, ends } = JSON.parse(figure.dataset.points);
  const svg = figure.querySelector("svg"), values = byId("values");
  const width = svg.viewBox.baseVal.width, left = ends[0] * width, right = ends[1] * width;
  const pointer = document.createElementNS(svg.namespaceURI, "path");
  pointer.setAttribute("class", "pointer");
  svg.append(pointer);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), share = ((event.clientX - box.left) / box.width * width - left) / (right - left);
    const place = nearest(steps, range[0] + share * (range[1] - range[0]));
    const x = left + (steps[place] - range[0]) / (range[1] - range[0]) * (right - left);
    pointer.setAttribute("d", `M${x} 4V${svg.viewBox.baseVal.height - 18}`);
    const known = Object.entries(lines).filter(([, all]) => all[place] !== null);
    values.textContent = [`step ${steps[place]}`, ...known.map(([name, all]) => `${name} ${all[place]}`)].join("\n");
    values.hidden = false;
    values.style.left = `${Math.min(event.clientX + 14, innerWidth - values.offsetWidth - 8)}px`;
    values.style.top = `${Math.max(8, event.clientY - values.offsetHeight - 10)}px`;
  });
  svg.addEventListener("pointerleave", () => { values.hidden = true; pointer.removeAttribute("d"); });
}

document.querySelectorAll(".plot").forEach(watch);

function changeTheme() {
  const root = document.documentElement, now = root.style.colorScheme;
  const dark = now ? now === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.style.colorScheme = dark ? "light" : "dark";
}

byId("theme").addEventListener("click", changeTheme);
byId("help").addEventListener("click", () => byId("keys").showModal());
