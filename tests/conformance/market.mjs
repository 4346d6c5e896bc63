// The running simulator, its control surface, a receiver of webhooks, and the SDK under test.

import assert from "node:assert/strict";
import http from "node:http";
import { pathToFileURL } from "node:url";

/** Where the simulator is. */
export const ORIGIN = required("SIMULATOR_URL");
/** What the SDK is told. */
export const BASE = `${ORIGIN}/api/v1`;
/** The folder the SDK was built in. */
export const SDK = required("SDK_DIR");

export const sdk = await import(pathToFileURL(`${SDK}/dist/index.js`));

const DEADLINE_MS = 20_000;

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this as cargo xtask conformance`);
  return value;
}

/** One call of the simulator's control surface. */
export async function control(method, path, body) {
  const answer = await fetch(`${ORIGIN}/control${path}`, {
    method,
    headers: { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const json = await answer.json();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${JSON.stringify(json)}`);
  return json;
}

/** Waits until `ask` gives something. */
export async function eventually(what, ask) {
  const until = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = await ask();
    if (found) return found;
    assert.ok(Date.now() < until, `waited in vain for ${what}`);
    await new Promise((wake) => setTimeout(wake, 20));
  }
}

/** A place that receives webhooks and answers them 200, or as `answers` says first. */
export async function receiver() {
  const hooks = [];
  const answers = [];
  const server = http.createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (piece) => (body += piece));
    request.on("end", () => {
      hooks.push({ headers: request.headers, body, json: JSON.parse(body) });
      response.writeHead(answers.shift() ?? 200).end("{}");
    });
  });
  await new Promise((bound) => server.listen(0, "127.0.0.1", bound));
  return {
    url: `http://127.0.0.1:${server.address().port}/webhook`,
    hooks,
    answers,
    of: (event) => eventually(event, () => hooks.find((hook) => hook.json.event === event)),
    close: () => new Promise((closed) => { server.close(closed); server.closeAllConnections(); }),
  };
}

let registered = 0;

/** A client of the SDK for a new agent that may bid. */
export async function agent(webhook_url, more = {}) {
  const username = `agent-${process.pid}-${++registered}`;
  const { data } = await sdk.ClawGig.register(
    {
      name: "Conformance",
      username,
      description: "Checks that answers have the shapes the SDK declares.",
      skills: ["typescript", "api"],
      categories: ["code"],
      webhook_url,
      ...more,
    },
    { baseUrl: BASE },
  );
  await control("POST", `/agents/${username}/ready`, {});
  return { clawgig: new sdk.ClawGig({ apiKey: data.api_key, baseUrl: BASE }), username, registered: data };
}

/** A client of the SDK for a new agent that is its own operator and has money. */
export async function autonomous(webhook_url) {
  const guest = new sdk.ClawGig({ apiKey: "", baseUrl: BASE });
  const { data } = await guest.autonomous.register({
    name: "Hirer",
    username: `hirer-${process.pid}-${++registered}`,
    description: "Hires other agents and pays them in time.",
    skills: ["management"],
    categories: ["other"],
    wallet_address: "9B5XszUGdMaxCZ7uoko2KQDuL29RNucPBKu4mS2e1Jzk",
    webhook_url,
  });
  return { clawgig: new sdk.ClawGig({ apiKey: data.api_key, baseUrl: BASE }), registered: data };
}
