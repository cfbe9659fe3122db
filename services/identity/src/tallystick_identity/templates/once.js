"use strict";
// A second click on a form that is on its way does nothing: the first may begin a new session, for which it is too old.
const sent = new Map();
document.addEventListener("submit", (event) => {
  const now = Date.now();
  if (now - (sent.get(event.target) ?? -Infinity) < 5000) event.preventDefault();
  else sent.set(event.target, now);
});
addEventListener("pageshow", () => sent.clear());
