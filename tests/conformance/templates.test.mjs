// The three official templates, unmodified: only the address of the marketplace is another one.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import net from "node:net";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { agent, control, eventually, ORIGIN } from "./market.mjs";

const FOLDER = process.env.TEMPLATES_DIR;
const REDIRECT = fileURLToPath(new URL("redirect.mjs", import.meta.url));
const running = new Set();
const skip = FOLDER ? false : "no templates were given (--templates)";

before(async () => {
  await control("PUT", "/settings", { dialect: "sdk", rate_limit_per_minute: 100000 });
});

after(() => {
  for (const child of running) child.kill();
});

/** Starts a script of a template; its words are in `said()`. */
function start(template, script, env = {}) {
  const child = spawn(process.execPath, ["--import", REDIRECT, "--import", "tsx", script], {
    cwd: `${FOLDER}/${template}`,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, SIMULATOR_URL: ORIGIN, ...env },
  });
  running.add(child);
  let words = "";
  child.stdout.on("data", (piece) => (words += piece));
  child.stderr.on("data", (piece) => (words += piece));
  const ended = new Promise((end) => child.on("close", (code) => { running.delete(child); end(code); }));
  const stop = () => { child.kill(); return ended; };
  return { said: () => words, ended, stop };
}

/** Runs a script to its end and returns what it said. */
async function run(template, script, env) {
  const process = start(template, script, env);
  const code = await process.ended;
  assert.equal(code, 0, process.said());
  return process.said();
}

async function freePort() {
  const server = net.createServer();
  await new Promise((bound) => server.listen(0, "127.0.0.1", bound));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

test("agent-quickstart registers, completes its profile, proposes and delivers", { skip }, async () => {
  const registered = await run("agent-quickstart", "register.ts");
  const [CLAWGIG_API_KEY] = registered.match(/cg_\w+/);
  assert.match(await run("agent-quickstart", "setup-profile.ts", { CLAWGIG_API_KEY }), /Profile (is complete|still needs)/);
  await control("POST", "/agents/my-agent/ready", {});
  assert.match(await run("agent-quickstart", "setup-profile.ts", { CLAWGIG_API_KEY }), /Profile is complete/);
  const { gig_ids } = await control("POST", "/gigs", { category: "code", title: "Quick start" });
  const proposed = await run("agent-quickstart", "find-and-propose.ts", { CLAWGIG_API_KEY });
  assert.match(proposed, /Proposing on: "Quick start"[\s\S]*Status: pending/);
  assert.match(await run("agent-quickstart", "deliver.ts", { CLAWGIG_API_KEY }), /No active contracts/);
  const { id } = await control("POST", `/gigs/${gig_ids[0]}/accept`, {});
  await control("POST", `/contracts/${id}/fund`, {});
  assert.match(await run("agent-quickstart", "deliver.ts", { CLAWGIG_API_KEY }), /Delivered! Status: delivered/);
  const { amount_micro_usdc, status } = await control("POST", `/contracts/${id}/approve`, {});
  assert.deepEqual([status, amount_micro_usdc > 0], ["approved", true]);
});

test("agent-coder proposes, delivers and answers by webhook alone", { skip }, async () => {
  const port = await freePort();
  const { clawgig, registered } = await agent(`http://127.0.0.1:${port}/webhook`, { categories: ["data"] });
  const { data } = await clawgig.webhooks.rotateSecret();
  const env = { CLAWGIG_API_KEY: registered.api_key, WEBHOOK_SECRET: data.webhook_secret, PORT: String(port) };
  const coder = start("agent-coder", "src/index.ts", env);
  await eventually("agent-coder", () => coder.said().includes("Webhook endpoint"));
  const { gig_ids: [gig] } = await control("POST", "/gigs", { category: "data", skills_required: ["Python"] });
  await eventually("its proposal", async () => {
    const { data } = await control("GET", "/gigs");
    return data.find((one) => one.id === gig).proposals.length === 1;
  });
  const { id } = await control("POST", `/gigs/${gig}/accept`, {});
  await control("POST", `/contracts/${id}/fund`, {});
  const contract = () => control("GET", `/contracts/${id}`);
  await eventually("its delivery", async () => (await contract()).status === "delivered");
  await control("POST", `/contracts/${id}/message`, { content: "Thank you" });
  await eventually("its answer", async () => (await contract()).messages.length === 2);
  assert.doesNotMatch(coder.said(), /Error/);
  await coder.stop();
});

test("agent-writer proposes and delivers by polling alone", { skip }, async () => {
  const { registered } = await agent("https://example.com/none", { categories: ["research"] });
  const { gig_ids: [gig] } = await control("POST", "/gigs", { category: "research" });
  const env = { CLAWGIG_API_KEY: registered.api_key, POLL_INTERVAL: "1", CATEGORIES: "research" };
  const writer = start("agent-writer", "src/index.ts", env);
  const proposal = await eventually("its proposal", async () => {
    const { data } = await control("GET", "/gigs");
    return data.find((one) => one.id === gig).proposals[0];
  });
  const { id } = await control("POST", `/gigs/${gig}/accept`, { proposal_id: proposal.id });
  await control("POST", `/contracts/${id}/fund`, {});
  await eventually("its delivery", async () => (await control("GET", `/contracts/${id}`)).status === "delivered");
  assert.match(writer.said(), /Delivered contract/);
  await writer.stop();
});
