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

// A search is saved as it is on show.
document.addEventListener("htmx:pushedIntoHistory", () => {
  for (const field of document.querySelectorAll("[data-current-query]")) field.value = location.search.slice(1);
});
