// The player of a video's page: seeking from the timeline and from frames, steps, speed, blurred pictures.
"use strict";

const watch = document.querySelector("[data-video]");
const player = document.querySelector("[data-player]");

function shownTimes() {
  const holder = document.querySelector("[data-frames]");
  return holder && holder.dataset.frames ? holder.dataset.frames.split(",").map(Number) : [];
}

function seek(seconds) {
  player.currentTime = seconds + 0.001; // a time on the border of two frames is the start of the later one
}

function showMoment(seconds) {
  const lane = watch.dataset.lane ? `&lane=${encodeURIComponent(watch.dataset.lane)}` : "";
  htmx.ajax("GET", `/videos/${watch.dataset.video}/moment?t=${seconds}${lane}`, { target: "#moment", swap: "innerHTML" });
  history.replaceState(null, "", `?t=${seconds}${lane}`);
}

if (player) {
  player.muted = true;
  const start = Number(watch.dataset.start);
  if (start > 0) player.addEventListener("loadedmetadata", () => seek(start), { once: true });
  player.addEventListener("error", () => { document.querySelector("[data-no-player]").hidden = false; });
  const now = document.querySelector("[data-now]");
  player.addEventListener("timeupdate", () => {
    const x = String(1000 * Math.min(1, player.currentTime / (Number(now.dataset.now) || 1)));
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
  });
  document.querySelector("[data-speed]").addEventListener("change", (event) => {
    player.playbackRate = Number(event.target.value);
  });
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-seek], [data-step], [data-reveal]");
  if (!target) return;
  if (target.matches("[data-reveal]")) {
    target.closest(".hidden-picture").classList.remove("hidden-picture");
    target.remove();
  } else if (target.matches("[data-step]")) {
    const times = shownTimes();
    const forward = target.dataset.step === "1";
    const next = forward
      ? times.find((time) => time > player.currentTime + 0.002)
      : times.filter((time) => time < player.currentTime - 0.002).pop();
    player.pause();
    if (next !== undefined) seek(next);
  } else if (player && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    const seconds = Number(target.dataset.seek);
    seek(seconds);
    if (!target.closest("#moment")) showMoment(seconds);
  }
});

// An image that cannot be decoded again leaves a sentence.
document.addEventListener("error", (event) => {
  if (!event.target.matches || !event.target.matches("[data-frame]")) return;
  event.target.closest("figure").hidden = true;
  event.target.closest("details").querySelector("[data-no-frames]").hidden = false;
}, true);
