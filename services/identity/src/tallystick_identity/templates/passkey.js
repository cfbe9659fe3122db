"use strict";
// Asks the server what to sign (or to make), has the browser's passkey do it, and hands the result back.
const button = document.getElementById("passkey"), trouble = document.getElementById("passkey-problem");
async function send(method, path, body) {
  const headers = {};
  if (button.dataset.csrf) headers["X-CSRF-Token"] = button.dataset.csrf;
  if (method !== "GET") headers["Idempotency-Key"] = crypto.randomUUID();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({ title: "The server does not answer as it should" }));
  const wait = answer.headers.get("Retry-After");
  throw new Error(said.title + "." + (wait ? " Try again in " + Math.ceil(wait / 60) + " min." : ""));
}
async function use() {
  trouble.textContent = "";
  button.disabled = true;
  try {
    const options = await (await send(button.dataset.optionsMethod, button.dataset.options)).json();
    const made = button.dataset.makes
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
    await send("POST", button.dataset.answer, made.toJSON());
    location.assign(button.dataset.next);
  } catch (error) {
    // On an address of numbers, or one whose certificate the browser does not trust, it makes and uses none.
    const isTheSites = error.name === "SecurityError" || /TLS|certificate/i.test(error.message);
    const isTheBrowsers = error instanceof DOMException;
    trouble.textContent = isTheBrowsers && isTheSites
      ? "Here passkeys do not work: they need a host name, and a certificate that the browser trusts. Take another way."
      : isTheBrowsers ? "No passkey was used. Try again, or take another way." : error.message;
    button.disabled = false;
  }
}
if (button && window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON) {
  button.hidden = false;
  button.addEventListener("click", use);
} else if (trouble) {
  trouble.textContent = "This browser knows no passkeys; take another way.";
}
