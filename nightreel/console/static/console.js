// What pages need of a browser beyond htmx. No string is ever run as a program or read as HTML here.
"use strict";

for (const field of document.querySelectorAll("[data-time-zone]")) {
  field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
}

// Fields without a value stay out of addresses.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-drop-empty]")) return;
  for (const field of event.target.elements) {
    if (field.name && field.value === "") {
      field.disabled = true;
      setTimeout(() => { field.disabled = false; });
    }
  }
});
document.addEventListener("htmx:configRequest", (event) => {
  const { parameters } = event.detail;
  for (const name of [...parameters.keys()]) {
    if (parameters.get(name) === "") parameters.delete(name);
  }
});

// Tell the console something before the page changes. Returns whether it is noted.
async function noted(path, fields) {
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  const body = new URLSearchParams(fields);
  // A redirect leads to the page that signs in: nothing is noted.
  const reply = await fetch(path, { method: "POST", headers, body, redirect: "error" }).catch(() => null);
  const notices = document.getElementById("notices");
  notices.textContent = reply?.ok ? "" : notices.dataset.unanswered;
  return Boolean(reply?.ok);
}

// A search is saved as it is on show.
document.addEventListener("htmx:pushedIntoHistory", () => {
  for (const field of document.querySelectorAll("[data-current-query]")) field.value = location.search.slice(1);
});
