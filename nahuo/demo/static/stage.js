// Switches post to the demo page; a click on a label copies what a scanner would read from it; both are asked for once a second.
"use strict";
const shown = new Set();
const list = document.getElementById("labels");

async function press(button) {
  const on = !button.classList.contains("on");
  button.disabled = true;
  try {
    await fetch("/switch", { method: "POST", body: new URLSearchParams({ name: button.dataset.name, on: on ? "1" : "0" }) });
    await refresh();
  } finally {
    button.disabled = false;
  }
}

// What a scanner would read: pasted into the terminal's field, it is a scan.
async function copy(code) {
  const field = document.getElementById("copied");
  field.value = code;
  field.classList.add("fresh");
  field.select();
  try {
    await navigator.clipboard.writeText(code);
  } catch {
    document.execCommand("copy");
  }
}

async function refresh() {
  const answer = await fetch("/state", { headers: { accept: "application/json" } });
  if (!answer.ok) return;
  const state = await answer.json();
  for (const button of document.querySelectorAll(".switch")) {
    if (button.dataset.name in state.switches) button.classList.toggle("on", state.switches[button.dataset.name]);
  }
  for (const label of state.labels.slice().reverse()) {
    const key = `${label.printer}/${label.n}`;
    if (shown.has(key)) continue;
    shown.add(key);
    const entry = document.createElement("li");
    const image = new Image();
    image.src = `/label/${key}.png`;
    image.alt = label.codes.join(" ");
    const words = document.createElement("span");
    words.textContent = `${label.printer} ${label.codes.join(" ")}`;
    const button = document.createElement("button");
    button.dataset.code = label.scans;
    button.title = "复制它的码 · copy its code";
    button.append(image, words);
    entry.append(button);
    list.prepend(entry);
  }
  while (list.children.length > 24) list.lastChild.remove();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".switch");
  if (button) press(button);
  const label = event.target.closest("#labels button");
  if (label) copy(label.dataset.code);
});
refresh();
setInterval(refresh, 1000);
