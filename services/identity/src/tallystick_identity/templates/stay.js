"use strict";
// A session's token lasts five minutes. A form that was filled in for longer has it renewed first, and loses nothing.
const opened = Date.now();
document.addEventListener("submit", async (event) => {
  const form = event.target, sender = event.submitter;
  if (Date.now() - opened < 240000 || form.dataset.renewed) return;
  event.preventDefault();
  form.dataset.renewed = "yes";
  try { await fetch("/session/refresh", { method: "POST" }); } catch { /* the answer to the form will say what is wrong */ }
  form.requestSubmit(sender);
});
