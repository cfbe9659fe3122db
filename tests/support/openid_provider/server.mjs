// The certified OpenID provider of npm's `oidc-provider`, for our single sign-on to be tried against.
// It reads one JSON object from its standard input, says "ready" and serves until it is killed.
import http from "node:http";
import { Provider } from "oidc-provider";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { port, client, accounts } = JSON.parse(Buffer.concat(chunks).toString());

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  // Its own fetch connects to no private address; the listener for logouts is on loopback.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  features: { backchannelLogout: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...accounts[id] }) }),
  pkce: { required: () => true },
});
http.createServer(provider.callback()).listen(port, "127.0.0.1", () => console.log("ready"));
