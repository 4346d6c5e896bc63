// Every method of the SDK against the simulator: answered, and answered in the shape the SDK declares.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { BASE, agent, autonomous, control, eventually, receiver, sdk } from "./market.mjs";
import { shaped } from "./shape.mjs";

let inbox, worker, clawgig;
const used = new Set();

before(async () => {
  await control("PUT", "/settings", { dialect: "sdk", rate_limit_per_minute: 100000, webhook_retry_scale: 0.0001 });
  inbox = await receiver();
  worker = await agent(inbox.url);
  clawgig = recorded(worker.clawgig);
});

after(async () => {
  await inbox.close();
});

/** The client, with every method that is called written down. */
function recorded(client) {
  const resources = new Proxy({}, {
    get: (_, name) => new Proxy(client[name], {
      get: (resource, method) => (...args) => {
        used.add(`${name}.${String(method)}`);
        return resource[method](...args);
      },
    }),
  });
  return resources;
}

async function gig(more = {}) {
  const { gig_ids } = await control("POST", "/gigs", more);
  return gig_ids[0];
}

async function proposed(on, amount = 12.5) {
  const letter = "I have done this before and can start at once.";
  const { data, status } = await clawgig.proposals.submit({ gig_id: on, proposed_amount_usdc: amount, cover_letter: letter, estimated_hours: 3 });
  assert.equal(status, 201);
  return shaped("Proposal", data);
}

/** A contract of the worker's, funded. */
async function funded(amount) {
  const on = await gig();
  await proposed(on, amount);
  const { id } = await control("POST", `/gigs/${on}/accept`, {});
  await control("POST", `/contracts/${id}/fund`, {});
  return id;
}

test("registration", () => {
  shaped("RegisterAgentResult", worker.registered);
});

test("profile", async () => {
  shaped("AgentProfile", (await clawgig.profile.get()).data);
  const { data } = await clawgig.profile.update({ bio: "Short.", languages: ["english"], hourly_rate_usdc: 12.5, specialties: ["apis"] });
  assert.equal(shaped("AgentProfile", data).hourly_rate_usdc, 12.5);
  shaped("ProfileStatus", (await clawgig.profile.status()).data);
  assert.equal(shaped("ReadinessCheck", (await clawgig.profile.readiness()).data).ready, true);
  assert.equal(typeof (await clawgig.profile.verifyEmail("a@example.com")).data.message, "string");
  const known = await control("GET", "/agents");
  const { email_code } = known.data.find((one) => one.username === worker.username);
  assert.equal(typeof (await clawgig.profile.confirmEmail(email_code)).data.message, "string");
});

test("an avatar is only recommended", async () => {
  const guest = await sdk.ClawGig.register(
    { name: "Bare", username: `bare-${process.pid}`, description: "Has nothing but the required fields.", skills: ["a"], categories: ["code"], webhook_url: inbox.url },
    { baseUrl: BASE },
  );
  const bare = new sdk.ClawGig({ apiKey: guest.data.api_key, baseUrl: BASE });
  const { data } = await bare.profile.readiness();
  assert.ok(data.recommended.includes("avatar_url") && !data.missing.includes("avatar_url"), JSON.stringify(data));
});

test("gigs", async () => {
  const one = await gig({ title: "Find me by my words", category: "code", skills_required: ["rust"], budget_usdc: 31.25 });
  const { data, rateLimit } = await clawgig.gigs.search({ q: "find me", category: "code", skills: ["rust", "go"], min_budget: 31, max_budget: 32, sort: "newest", limit: 5, offset: 0 });
  assert.equal(data.data.length, 1);
  assert.equal(shaped("Gig", data.data[0]).id, one);
  assert.deepEqual([data.total, data.limit, data.offset], [1, 5, 0]);
  assert.ok(rateLimit.limit > 0 && rateLimit.reset > Date.now() / 1000 - 5);
  const { data: whole } = await clawgig.gigs.get(one);
  assert.equal(shaped("Gig", whole).budget_usdc, 31.25);
  shaped("Gig", (await clawgig.gigs.get(await gig({ deliverables: "One file", deadline: "none", max_proposals: 7 }))).data);
});

test("paging goes through all gigs once", async () => {
  await control("POST", "/gigs", { count: 120, category: "translation" });
  const client = { get: (path, query) => fetchPage(path, query) };
  const seen = new Set();
  for await (const one of sdk.paginate(client, "/gigs", { category: "translation" })) seen.add(one.id);
  assert.equal(seen.size, 120);
});

/** What `paginate` wants of a client. */
async function fetchPage(path, query) {
  const answer = await fetch(`${BASE}${path}?${new URLSearchParams(query)}`);
  const json = await answer.json();
  return { data: json.data ?? json };
}

test("proposals", async () => {
  const on = await gig();
  const first = await proposed(on);
  await assert.rejects(proposed(on), (error) => error instanceof sdk.ConflictError && typeof error.message === "string");
  const { data: all } = await clawgig.proposals.list();
  shaped("Proposal[]", all);
  assert.ok(all.some((one) => one.id === first.id));
  assert.equal(shaped("Proposal", (await clawgig.proposals.get(first.id)).data).status, "pending");
  const { data: changed } = await clawgig.proposals.update(first.id, { proposed_amount_usdc: 9.75, estimated_hours: 2 });
  assert.equal(shaped("Proposal", changed).proposed_amount_usdc, 9.75);
  assert.equal(typeof (await clawgig.proposals.withdraw(on, first.id)).data.message, "string");
  assert.equal((await clawgig.proposals.get(first.id)).data.status, "withdrawn");
});

test("all own proposals are listed, since the SDK asks for no page", async () => {
  const count = 60;
  const { gig_ids } = await control("POST", "/gigs", { count });
  for (const on of gig_ids) await proposed(on);
  const { data } = await clawgig.proposals.list();
  assert.ok(data.length >= count, `${data.length} of at least ${count}`);
});

test("contracts, from acceptance to payment", async () => {
  const on = await gig();
  await proposed(on, 12.5);
  const { id } = await control("POST", `/gigs/${on}/accept`, {});
  const own = async () => {
    const { data } = await clawgig.contracts.list({ limit: 50, offset: 0 });
    return shaped("Contract[]", data).find((one) => one.id === id);
  };
  assert.deepEqual([(await own()).status, (await own()).escrow_tx_signature], ["active", null]);
  await assert.rejects(clawgig.contracts.deliver({ contract_id: id, delivery_notes: "Too early" }), sdk.ValidationError);
  await control("POST", `/contracts/${id}/fund`, {});
  assert.equal((await own()).status, "active");
  assert.equal(typeof (await own()).escrow_tx_signature, "string");
  const { data: active } = await clawgig.contracts.list({ status: "active" });
  assert.ok(active.some((one) => one.id === id), "a funded contract is listed as active");

  const { data: file, status } = await clawgig.files.upload({ file: Buffer.from("done"), filename: "done.txt", bucket: "attachments" });
  assert.ok(status === 200 || status === 201);
  shaped("UploadResult", file);
  assert.equal(await (await fetch(file.url)).text(), "done");
  const { data: delivered } = await clawgig.contracts.deliver({ contract_id: id, delivery_notes: "Done.", deliverables_url: "https://example.com/done", attachments: [file.url] });
  assert.equal(shaped("Contract", delivered).status, "delivered");
  assert.equal(delivered.delivery_notes, "Done.");
  await control("POST", `/contracts/${id}/revise`, { message: "Shorter, please" });
  assert.equal((await own()).status, "active");
  await clawgig.contracts.deliver({ contract_id: id, delivery_notes: "Done again." });
  await control("POST", `/contracts/${id}/approve`, {});
  assert.equal((await own()).status, "approved");
  await control("POST", `/contracts/${id}/review`, { rating: 4 });
  const { data: profile } = await clawgig.profile.get();
  assert.equal(shaped("AgentProfile", profile).stats_avg_rating, 4);
  assert.equal(profile.stats_total_earned, 11.25);
});

test("messages", async () => {
  const id = await funded(10);
  await control("POST", `/contracts/${id}/message`, { content: "How is it going?", attachment_text: "a,b", attachment_name: "a.csv" });
  const { data: sent, status } = await clawgig.contracts.sendMessage({ contract_id: id, content: "Well.", attachment_url: "https://example.com/a", attachment_name: "a" });
  assert.equal(status, 201);
  shaped("Message", sent);
  const { data: thread } = await clawgig.contracts.getMessages(id);
  assert.deepEqual(shaped("Message[]", thread).map((one) => one.content), ["How is it going?", "Well."]);
  const { data: all } = await clawgig.messages.inbox({ contract_id: id, limit: 10, offset: 0 });
  assert.equal(shaped("Message[]", all).length, 2);
});

test("a whole thread is listed, since the SDK asks for no page", async () => {
  const id = await funded(10);
  for (let each = 0; each < 60; each++) await clawgig.contracts.sendMessage({ contract_id: id, content: `Message ${each}` });
  const { data } = await clawgig.contracts.getMessages(id);
  assert.equal(data.length, 60);
});

test("portfolio", async () => {
  const { data: item, status } = await clawgig.portfolio.add({ title: "Parser" });
  assert.equal(status, 201);
  shaped("PortfolioItem", item);
  const { data: changed } = await clawgig.portfolio.update(item.id, { title: "Better parser", description: "Fast", project_url: "https://example.com" });
  assert.equal(shaped("PortfolioItem", changed).title, "Better parser");
  const { data: all } = await clawgig.portfolio.list();
  assert.ok(shaped("PortfolioItem[]", all).some((one) => one.id === item.id));
  assert.equal(typeof (await clawgig.portfolio.delete(item.id)).data.message, "string");
});

test("services", async () => {
  const { id } = await control("POST", "/services", { agent: worker.username, title: "Fix one bug", category: "code", starting_price: 20, tags: ["rust"] });
  const { data } = await clawgig.services.list({ category: "code", search: "bug", limit: 5, offset: 0 });
  assert.equal(shaped("AgentService", data.data[0]).id, id);
  assert.equal(data.total, 1);
  assert.equal(shaped("AgentService", (await clawgig.services.get(id)).data).starting_price, 20);
});

test("webhooks: settings, rotation, test, log, retry", async () => {
  shaped("WebhookConfig", (await clawgig.webhooks.getConfig()).data);
  const events = ["gig.posted", "contract.funded"];
  const { data: config } = await clawgig.webhooks.updateConfig({ webhook_url: inbox.url, webhook_events: events });
  assert.deepEqual(shaped("WebhookConfig", config).webhook_events, events);
  const { data: rotated } = await clawgig.webhooks.rotateSecret();
  assert.match(rotated.webhook_secret, /^whsec_/);
  const { data: tested } = await clawgig.webhooks.test();
  assert.deepEqual([tested.success, tested.status_code], [true, 200]);
  const hook = await inbox.of("test");
  assert.ok(verified(hook, rotated.webhook_secret), "the SDK verifies what the simulator signs");
  assert.ok(!verified(hook, "whsec_another"));

  inbox.answers.push(500, 500, 500, 500, 500);
  await gig();
  const failed = await eventually("a failed delivery", async () => {
    const { data } = await clawgig.webhooks.getDeliveries({ event: "gig.posted", success: false, since: new Date(0).toISOString(), limit: 5, offset: 0 });
    return shaped("WebhookDelivery[]", data).find((one) => one.attempt === one.max_attempts && one.completed_at);
  });
  assert.equal(failed.status_code, 500);
  assert.equal((await clawgig.webhooks.retryDelivery(failed.id)).data.success, true);
  assert.equal((await clawgig.webhooks.getDeliveries({ success: false })).data.find((one) => one.id === failed.id), undefined);
});

function verified(hook, secret) {
  return sdk.verifyWebhookSignature({
    payload: hook.body,
    signature: hook.headers["x-clawgig-signature"],
    secret,
    timestamp: hook.headers["x-clawgig-timestamp"],
  });
}

test("every event has the data the SDK declares", async () => {
  const own = await receiver();
  const other = await agent(own.url, { categories: ["design"] });
  const { data: rotated } = await other.clawgig.webhooks.rotateSecret();
  const play = async (amount) => {
    const on = await gig({ category: "design", deadline: "none" });
    await other.clawgig.proposals.submit({ gig_id: on, proposed_amount_usdc: amount, cover_letter: "I can start with this at once." });
    const { id } = await control("POST", `/gigs/${on}/accept`, {});
    await control("POST", `/contracts/${id}/fund`, {});
    return id;
  };
  const paid = await play(10);
  await control("POST", `/contracts/${paid}/message`, { content: "Hello" });
  await other.clawgig.contracts.deliver({ contract_id: paid, delivery_notes: "Done" });
  await control("POST", `/contracts/${paid}/approve`, {});
  await control("POST", `/contracts/${paid}/review`, { rating: 5 });
  const argued = await play(11);
  await control("POST", `/contracts/${argued}/dispute`, {});
  await control("POST", `/contracts/${argued}/resolve`, { outcome: "approved" });
  const declared = {
    "gig.posted": "GigPostedData",
    "proposal.accepted": "ProposalAcceptedData",
    "contract.funded": "ContractFundedData",
    "contract.delivered": "ContractDeliveredData",
    "contract.approved": "ContractApprovedData",
    "contract.disputed": "ContractDisputedData",
    "contract.resolved": "ContractResolvedData",
    "message.received": "MessageReceivedData",
    "review.received": "ReviewReceivedData",
  };
  for (const [event, type] of Object.entries(declared)) {
    const hook = await own.of(event);
    shaped("WebhookPayload", hook.json);
    shaped(type, hook.json.data);
    assert.ok(verified(hook, rotated.webhook_secret), event);
  }
  await own.close();
});

test("an agent without an operator hires, pays and disputes", async () => {
  await clawgig.webhooks.updateConfig({ webhook_events: [] });
  const { clawgig: plain, registered } = await autonomous();
  shaped("RegisterAutonomousResult", registered);
  used.add("autonomous.register");
  const hirer = recorded(plain);
  assert.equal(shaped("AgentBalance", (await hirer.autonomous.getBalance()).data).balance_usdc, 0);
  const { data: deposit } = await hirer.autonomous.deposit({ tx_signature: "5UfgJ4", amount_usdc: 600 });
  assert.equal(shaped("AgentDepositResult", deposit).balance_usdc, 600);

  const hire = async (budget) => {
    const { data: posted, status } = await hirer.hiring.createGig({
      title: "Build a small API",
      description: "An API with five endpoints, tests for each, and a README that shows how it is run.",
      category: "code",
      skills_required: ["typescript"],
      budget_usdc: budget,
      budget_type: "fixed",
      deliverables: "One repository",
      max_proposals: 5,
    });
    assert.equal(status, 201);
    shaped("CreateGigResult", posted);
    shaped("Gig", (await clawgig.gigs.get(posted.gig_id)).data);
    const bid = await proposed(posted.gig_id, budget);
    const { data: accepted, status: made } = await hirer.hiring.acceptProposal(posted.gig_id, { proposal_id: bid.id });
    assert.equal(made, 201);
    return shaped("AcceptProposalResult", accepted).contract_id;
  };

  const paid = await hire(250);
  const { data: balance } = await hirer.hiring.fundEscrow(paid);
  assert.equal(shaped("FundEscrowResult", balance).payment_method, "internal_balance");
  assert.equal(balance.fee_amount, 12.5);
  const { data: active } = await hirer.hiring.list({ status: "active", limit: 10, offset: 0 });
  assert.ok(shaped("ListHiredResult", active).data.some((one) => one.id === paid), "a funded contract is listed as active");
  assert.equal((await hirer.autonomous.getBalance()).data.pending_escrow_usdc, 250);
  await clawgig.contracts.deliver({ contract_id: paid, delivery_notes: "Done." });
  const { data: approved } = await hirer.hiring.approve(paid);
  shaped("ApproveDeliveryResult", approved);
  assert.deepEqual([approved.payout, approved.fee], [225, 25]);

  const onChain = await hire(100);
  const { data: x402 } = await hirer.hiring.fundEscrow(onChain, { x402Payment: "eyJzaWduZWQiOnRydWV9" });
  shaped("FundEscrowResult", x402);
  assert.deepEqual([x402.payment_method, x402.fee_amount], ["x402", 0]);
  assert.equal(typeof x402.tx_signature, "string");
  assert.equal((await hirer.autonomous.getBalance()).data.balance_usdc, 337.5);
  const { data: dispute } = await hirer.hiring.dispute(onChain, { reason: "Nothing was delivered for a week" });
  shaped("DisputeContractResult", dispute);
  const { data: out } = await hirer.autonomous.withdraw({ amount_usdc: 37.5 });
  assert.equal(shaped("AgentWithdrawResult", out).remaining_balance_usdc, 300);
  await assert.rejects(clawgig.autonomous.getBalance(), sdk.ForbiddenError);
});

test("refusals become the SDK's errors", async () => {
  const message = (kind) => (error) => error instanceof kind && typeof error.message === "string" && error.message !== "[object Object]";
  const nobody = new sdk.ClawGig({ apiKey: "cg_nobody", baseUrl: BASE });
  await assert.rejects(nobody.profile.get(), message(sdk.AuthenticationError));
  await assert.rejects(clawgig.gigs.get("11111111-1111-4111-8111-111111111111"), message(sdk.NotFoundError));
  await assert.rejects(clawgig.proposals.submit({ gig_id: await gig(), proposed_amount_usdc: 0, cover_letter: "Long enough to be a letter." }), message(sdk.ValidationError));
  const fresh = await sdk.ClawGig.register(
    { name: "New", username: `new-${process.pid}`, description: "Not claimed by anybody yet.", skills: ["a"], categories: ["code"], webhook_url: inbox.url },
    { baseUrl: BASE },
  );
  const unready = new sdk.ClawGig({ apiKey: fresh.data.api_key, baseUrl: BASE });
  await assert.rejects(unready.proposals.submit({ gig_id: await gig(), proposed_amount_usdc: 5, cover_letter: "Long enough to be a letter." }), message(sdk.ForbiddenError));
});

test("a 429 says how long, and the SDK's own retry gets through", async () => {
  await control("PUT", "/faults", [{ on: "list", kind: "http_429", count: 1, args: { retry_after: 1 } }]);
  await assert.rejects(clawgig.profile.get(), (error) => error instanceof sdk.RateLimitError && error.retryAfterSeconds === 1 && error.rateLimit.limit > 0);
  await control("PUT", "/faults", [{ on: "list", kind: "http_429", count: 1, args: { retry_after: 1 } }]);
  const patient = new sdk.ClawGig({ apiKey: worker.registered.api_key, baseUrl: BASE, retryOn429: true });
  shaped("AgentProfile", (await patient.profile.get()).data);
  await control("DELETE", "/faults");
});

test("no method was left out", () => {
  const client = new sdk.ClawGig({ apiKey: "cg_none", baseUrl: BASE });
  const all = Object.entries(client)
    .filter(([name]) => !name.startsWith("_"))
    .flatMap(([name, resource]) => Object.getOwnPropertyNames(Object.getPrototypeOf(resource)).map((method) => `${name}.${method}`))
    .filter((method) => !method.endsWith(".constructor"));
  assert.ok(all.length >= 35, `${all.length} methods found`);
  assert.deepEqual(all.filter((method) => !used.has(method)), []);
});
