// Switches post to the demo page; labels and switch positions are asked for once a second.
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
    entry.append(image, words);
    list.prepend(entry);
  }
  while (list.children.length > 24) list.lastChild.remove();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".switch");
  if (button) press(button);
});
refresh();
setInterval(refresh, 1000);
