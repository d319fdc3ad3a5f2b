// What plain forms cannot do: ask before something that cannot be taken back, and keep a form from being sent twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  const question = form.dataset.ask;
  if (question && !window.confirm(question)) {
    event.preventDefault();
    return;
  }
  for (const button of form.querySelectorAll("button")) setTimeout(() => { button.disabled = true; }, 0);
});
window.addEventListener("pageshow", () => { // back button: forms work again
  for (const button of document.querySelectorAll("form button[disabled]")) button.disabled = false;
});
// On a narrow screen the current menu entry is brought into view.
document.querySelector("nav.main [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
