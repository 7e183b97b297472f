// Keys of the pages for review, the countdown of a lock, and pictures that are shown on request.
"use strict";

const inText = (target) => target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
const labels = () => [...document.querySelectorAll("[data-label]")];
const RULINGS = { y: "confirm", n: "reject", u: "unsure", e: "escalate" };
let current = 0;

function show(index) {
  const all = labels();
  current = Math.max(0, Math.min(index, all.length - 1));
  all.forEach((one, place) => one.classList.toggle("current", place === current));
  all[current]?.scrollIntoView({ block: "nearest" });
}

function rule(label, ruling) {
  const choice = [...label.querySelectorAll("input[type=radio]")].find((one) => one.value === ruling);
  if (!choice) return;
  choice.checked = true;
  choice.focus({ preventScroll: true });
}

function use(element) {
  if (element.dataset.opens) document.getElementById(element.dataset.opens).showModal();
  else if (inText(element)) element.focus();
  else element.click();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (inText(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const ruling = RULINGS[event.key.toLowerCase()];
  if (ruling && labels().length) {
    const all = labels();
    if (event.key === event.key.toLowerCase()) {
      rule(all[current], ruling);
      show(current + 1);
    } else all.forEach((one) => rule(one, ruling));
  } else if (event.key === "j" || event.key === "k") show(current + (event.key === "j" ? 1 : -1));
  else {
    const wanted = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key);
    if (!wanted || (event.key === "Enter" && event.target.matches("a, button, summary"))) return;
    use(wanted);
  }
  event.preventDefault();
});

// Pictures are shown as they are only after the log of views has it.
async function toggle(button) {
  const shown = document.getElementById("case");
  const on = !shown.classList.contains(button.dataset.toggles);
  if (button.dataset.toggles === "blurred" && !on && !(await noted(shown.dataset.unblurred, {}))) return;
  shown.classList.toggle(button.dataset.toggles, on);
  button.setAttribute("aria-pressed", String(on));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-toggles], [data-note], [data-opens]");
  if (!button) return;
  if (button.dataset.toggles) toggle(button);
  else if (button.dataset.note !== undefined) {
    const note = document.querySelector("textarea[name=note]");
    note.value = note.value ? `${note.value}\n${button.dataset.note}` : button.dataset.note;
  } else use(button);
});

// The clock of the server counts: the page only shows how much of the lock was left when it was made.
const made = new WeakMap();
function countDown() {
  const shown = document.querySelector("[data-seconds-left]");
  if (!shown) return;
  if (!made.has(shown)) made.set(shown, performance.now());
  const left = Number(shown.dataset.secondsLeft) - (performance.now() - made.get(shown)) / 1000;
  const whole = Math.max(0, Math.ceil(left));
  shown.textContent = left > 0 ? `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}` : shown.dataset.over;
  shown.closest(".chip").classList.toggle("flagged", left <= 60);
  const spoken = document.querySelector("[data-soon]");
  const say = left <= 0 ? shown.dataset.over : left <= 60 ? spoken.dataset.soon : "";
  if (spoken.textContent !== say) spoken.textContent = say;
}
setInterval(countDown, 500);
countDown();
show(0);

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id !== "case" && !event.detail.elt?.matches?.("#case")) return;
  show(0);
  document.querySelector("[data-focus]")?.focus();
});
