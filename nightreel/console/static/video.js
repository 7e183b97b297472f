// The player of a video's page: seeking from the timeline and from frames, steps, speed, blurred pictures, previews.
"use strict";

const watch = document.querySelector("[data-video]");

function thePlayer() {
  return document.querySelector("[data-player]");
}

function shownTimes() {
  const holder = document.querySelector("[data-frames]");
  return holder && holder.dataset.frames ? holder.dataset.frames.split(",").map(Number) : [];
}

// A preview has the clock of its video, but only some parts of it.
function partsOf(player) {
  if (!player.dataset.ranges) return [[0, Infinity]];
  return player.dataset.ranges.split(",").map((part) => part.split("-").map(Number));
}

function has(player, seconds) {
  return partsOf(player).some(([start, end]) => start <= seconds && seconds < end);
}

function seek(player, seconds) {
  player.currentTime = seconds + 0.001; // a time on the border of two frames is the start of the later one
}

function inLane(separator) {
  return watch.dataset.lane ? `${separator}lane=${encodeURIComponent(watch.dataset.lane)}` : "";
}

function showMoment(seconds) {
  const query = `?t=${seconds}${inLane("&")}`;
  htmx.ajax("GET", `/videos/${watch.dataset.video}/moment${query}`, { target: "#moment", swap: "innerHTML" });
  history.replaceState(null, "", query);
}

function skipGaps(player) {
  if (player.paused || has(player, player.currentTime)) return;
  const next = partsOf(player).find(([start]) => start > player.currentTime);
  if (next) seek(player, next[0]);
  else player.pause();
}

function showNow(player) {
  const now = document.querySelector("[data-now]");
  const x = String(1000 * Math.min(1, player.currentTime / (Number(now.dataset.now) || 1)));
  now.setAttribute("x1", x);
  now.setAttribute("x2", x);
}

function explainError(player) {
  if (player.dataset.ranges) {
    document.querySelector("[data-no-player]").hidden = false;
    return;
  }
  const query = watch.dataset.start ? `?t=${watch.dataset.start}${inLane("&")}` : inLane("?");
  htmx.ajax("GET", `/videos/${watch.dataset.video}/preview${query}`, { target: "#player", swap: "innerHTML" });
}

let prepared = null;

function prepare() {
  const player = thePlayer();
  if (!player || player === prepared) return;
  prepared = player;
  player.muted = true;
  const start = Number(watch.dataset.start);
  const first = has(player, start) ? start : partsOf(player)[0][0];
  if (first > 0) player.addEventListener("loadedmetadata", () => seek(player, first), { once: true });
  player.addEventListener("error", () => explainError(player));
  player.addEventListener("timeupdate", () => {
    skipGaps(player);
    showNow(player);
  });
  document.querySelector("[data-speed]").addEventListener("change", (event) => {
    player.playbackRate = Number(event.target.value);
  });
  if (player.error) explainError(player);
}

prepare();
document.addEventListener("htmx:afterSettle", prepare);

async function reveal(button) {
  const { reveal: path, segment } = button.dataset;
  if (!(await noted(path, segment ? { segment } : {}))) return;
  button.closest(".hidden-picture").classList.remove("hidden-picture");
  button.remove();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-seek], [data-step], [data-reveal]");
  if (!target) return;
  const player = thePlayer();
  if (target.matches("[data-reveal]")) reveal(target);
  else if (target.matches("[data-step]")) {
    const times = shownTimes().filter((time) => has(player, time));
    const forward = target.dataset.step === "1";
    const next = forward
      ? times.find((time) => time > player.currentTime + 0.002)
      : times.filter((time) => time < player.currentTime - 0.002).pop();
    player.pause();
    if (next !== undefined) seek(player, next);
  } else if (player && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    const seconds = Number(target.dataset.seek);
    if (!has(player, seconds)) return; // the page of that moment has a preview of its own
    event.preventDefault();
    seek(player, seconds);
    if (!target.closest("#moment")) showMoment(seconds);
  }
});

// An image that cannot be decoded again leaves a sentence.
document.addEventListener("error", (event) => {
  if (!event.target.matches || !event.target.matches("[data-frame]")) return;
  event.target.closest("figure").hidden = true;
  event.target.closest("details").querySelector("[data-no-frames]").hidden = false;
}, true);
