// What pages need of a browser beyond htmx. No string is ever run as a program or read as HTML here.
"use strict";

for (const field of document.querySelectorAll("[data-time-zone]")) {
  field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
}
