"use strict";
// Plain forms made quick: a form is sent without leaving the page, live parts renew themselves, a scan sounds, a scanner's
// keys are read by their place on the keyboard so that an input method cannot swallow them. Everything works without this script.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  let audio = null;
  const TONES = { ok: [[880, 90]], info: [[660, 70]], warn: [[520, 110], [520, 110]], stop: [[170, 550]] };
  function sound(tone) {
    const notes = TONES[tone];
    if (!notes || !window.AudioContext) return;
    audio = audio || new AudioContext();
    let at = audio.currentTime;
    for (const [hertz, ms] of notes) {
      const voice = audio.createOscillator(), level = audio.createGain();
      voice.type = tone === "stop" ? "square" : "sine";
      voice.frequency.value = hertz;
      level.gain.value = 0.2;
      voice.connect(level).connect(audio.destination);
      voice.start(at);
      voice.stop(at + ms / 1000);
      at += ms / 1000 + 0.06;
    }
  }
  function focus() {
    const field = $("[data-focus]");
    if (field && !$("dialog[open]")) field.focus({ preventScroll: true });
  }
  async function take(answer) {
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.getElementById("page")) {
      document.body.replaceWith(fresh.body);
      return sound("stop");
    }
    for (const id of ["bar", "page", "tabs"]) document.getElementById(id)?.replaceWith(fresh.getElementById(id));
    document.body.dataset.version = fresh.body.dataset.version || "";
    bar = "";
    const path = new URL(answer.url).pathname;
    const moved = path !== location.pathname;
    if (answer.redirected) history.replaceState(null, "", answer.url);
    if (moved || $("[data-top]")) scrollTo(0, 0);
    sound($("#page").dataset.tone);
    focus();
  }
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    event.preventDefault();
    if (form.dataset.sent) return;
    form.dataset.sent = "1";
    const fields = new URLSearchParams(new FormData(form));
    if (event.submitter && event.submitter.name) fields.set(event.submitter.name, event.submitter.value);
    const box = $("#scan", form);
    if (box && wedge.text) fields.set(box.name, wedge.text);
    wedge.text = "";
    if (box) box.value = "";
    try {
      await take(await fetch(form.getAttribute("action"), { method: "POST", body: fields }));
    } catch {
      delete form.dataset.sent;
      document.body.classList.add("stopped");
    }
  });
  // A wedge scanner types: with an input method on, the letters arrive as "Process" and only their place is sure.
  const wedge = { text: "", at: 0 };
  const PLACES = { Minus: "-_", Period: ".>", Slash: "/?", Semicolon: ";:", Equal: "=+", Space: "  " };
  document.addEventListener("keydown", (event) => {
    const box = $("#scan");
    if (!box || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target !== box && /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (event.timeStamp - wedge.at > 400) wedge.text = "";
    wedge.at = event.timeStamp;
    const hidden = event.key === "Process" || event.isComposing || event.keyCode === 229;
    if (event.code === "Enter" || event.code === "NumpadEnter") {
      if (hidden) { event.preventDefault(); box.form.requestSubmit(); }
      else if (!wedge.hidden) wedge.text = "";
      wedge.hidden = false;
      return;
    }
    wedge.hidden = wedge.hidden || hidden;
    const letter = /^Key([A-Z])$/.exec(event.code), digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
    if (letter) wedge.text += event.shiftKey ? letter[1] : letter[1].toLowerCase();
    else if (digit) wedge.text += event.shiftKey && digit[1] === "8" ? "*" : digit[1];
    else if (PLACES[event.code]) wedge.text += PLACES[event.code][event.shiftKey ? 1 : 0];
    if (event.target !== box && event.key.length === 1) focus();
  });
  document.addEventListener("click", (event) => {
    const key = event.target.closest("[data-key]");
    if (key) {
      const field = $(`input[name="${key.closest("[data-keys]").dataset.keys}"]`, key.closest("form"));
      const press = key.dataset.key;
      field.value = press === "clear" ? "" : press === "back" ? field.value.slice(0, -1) : (field.value + press).slice(0, 12);
      field.dispatchEvent(new Event("input", { bubbles: true }));
      return;
    }
    const opener = event.target.closest("[data-open]");
    if (opener) return document.getElementById(opener.dataset.open).showModal();
    const closer = event.target.closest("[data-close]");
    if (closer) return closer.closest("dialog").close();
    if (!event.target.closest("input, select, textarea, a, button, label, summary")) focus();
  });
  document.addEventListener("change", (event) => {
    if (event.target.name === "mode") location.assign(`/scan?mode=${event.target.value}`);
  });
  document.addEventListener("input", (event) => {
    const search = event.target.closest("[data-search]");
    if (!search) return;
    clearTimeout(search.wait);
    search.wait = setTimeout(() => renew(`${location.pathname}?q=${encodeURIComponent(search.value)}`), 120);
  });
  async function renew(address) {
    const answer = await fetch(address, { headers: { accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (next && next.innerHTML !== old.innerHTML && !old.contains(document.activeElement?.closest("input:not([type=hidden])")))
        old.replaceWith(next);
    }
    if (answer.redirected && new URL(answer.url).pathname !== location.pathname) location.assign(answer.url);
  }
  let bar = "";
  async function pulse() {
    try {
      const answer = await fetch("/pulse", { headers: { accept: "application/json" } });
      if (answer.status === 401) return location.reload();
      const beat = await answer.json();
      document.body.classList.remove("stopped");
      // Paper that came out changes the bar but no record: the list of labels renews with it.
      const printed = beat.bar !== bar && $("#jobs");
      if (beat.bar !== bar) $("#bar").innerHTML = bar = beat.bar;
      if (printed || String(beat.version) !== document.body.dataset.version || beat.locked !== ($("#pin-form") !== null)) {
        document.body.dataset.version = beat.version;
        if (!$("dialog[open]")) {
          const search = $("[data-search]");
          await renew(search && search.value ? `${location.pathname}?q=${encodeURIComponent(search.value)}` : location.href);
        }
      }
    } catch {
      document.body.classList.add("stopped");
    }
  }
  setInterval(pulse, 1500);
  sound($("#page").dataset.tone);
  focus();
})();
