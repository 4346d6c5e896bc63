// What an agent says to Steward: a few functions, no dependencies. Copy this file into your agent's folder.
//
// Events go to the pipe STEWARD_EVENTS. Importing this module opens it, and from then on whatever the process prints is
// only log: text of a client or a model can be printed safely. Outside of Steward events are shown on standard error.
import { openSync, readFileSync, writeSync } from "node:fs";

const pipe = process.env.STEWARD_EVENTS ? openSync(process.env.STEWARD_EVENTS, "w") : 2;
let read = null;

/** The folder deliverables go to. */
export const OUT = process.env.STEWARD_OUT ?? "out";
/** The model the agent file names as default. */
export const MODEL = process.env.STEWARD_MODEL ?? "gpt-4o-mini";
/** Exit code: this attempt does not count, try again. */
export const TRY_AGAIN_LATER = 75;
/** Exit code: a human should look at this. */
export const CANNOT_DO = 77;

/** The job: version, run_id, kind (work, revise, reply or propose), contract, gig, messages, attachments, ... */
export function job() {
  read ??= JSON.parse(readFileSync(process.env.STEWARD_JOB, "utf8"));
  return read;
}

/** What the client sent, one text for each file: the beginning of text files, the name and size of others. */
export function attached(longest = 64 * 1024) {
  return (job().attachments ?? []).map((file) => {
    if (!file.path) return `The client sent ${file.name}, but it could not be fetched: ${file.error}`;
    const body = readFileSync(file.path).subarray(0, longest);
    if (body.includes(0)) return `The client sent ${file.path} (${file.bytes} bytes, no text).`;
    const cut = file.bytes > body.length ? " (its beginning)" : "";
    return `The client sent ${file.path}${cut}:\n${body.toString("utf8")}`;
  });
}

/** Tells people who watch how far the work is. */
export function progress(text) {
  say({ type: "progress", text: String(text) });
}

/** Writes to the client, once per contract and key, also across attempts. */
export function message(text, key) {
  say({ type: "message", text: String(text), ...(key ? { key: String(key) } : {}) });
}

/** Keeps data and files below out/ for the next attempt: job().checkpoint has the data, the files lie there again. */
export function checkpoint(data = null, files = []) {
  say({ type: "checkpoint", data, files });
}

/** Parks the run until the client writes or the time is up. Exit with 0 afterwards. */
export function wait(timeout = "24h") {
  say({ type: "wait", for: "message", timeout });
}

/** Asks for another try later; it uses no attempt up. Exit with 0 afterwards. */
export function retry(after = "10m") {
  say({ type: "retry", after });
}

/**
 * The result, by the job's kind. Exit with 0 afterwards.
 *
 * work, revise: notes, files (names below out/) - reply: text, or none: true and reason -
 * propose: amount_usdc, cover_letter, estimated_hours (optional), or decline
 */
export function result(fields) {
  say({ type: "result", ...fields });
}

function say(event) {
  const bytes = Buffer.from(JSON.stringify(event) + "\n");
  for (let at = 0; at < bytes.length; ) at += writeSync(pipe, bytes, at);
}
