// Checks values against the interfaces that the SDK's own src/types.ts declares.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { SDK } from "./market.mjs";

const { interfaces, unions } = read(readFileSync(`${SDK}/src/types.ts`, "utf8"));

/** Fails, naming the member, unless `value` is what the SDK calls `type`, such as `Gig` or `Contract[]`. */
export function shaped(type, value) {
  check(type, value, type);
  return value;
}

function read(source) {
  const text = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");
  const interfaces = new Map();
  for (const [, name, body] of text.matchAll(/export interface (\w+)(?:<T>)? \{([^{}]*)\}/g)) {
    const members = [...body.matchAll(/(\w+)(\?)?\s*:\s*([^;]+);/g)];
    interfaces.set(name, members.map(([, member, optional, type]) => ({ member, optional: Boolean(optional), type: type.trim() })));
  }
  const unions = new Map();
  for (const [, name, type] of text.matchAll(/export type (\w+)\s*=\s*([^;{}]+);/g)) {
    unions.set(name, type.trim().replace(/^\|/, "").trim());
  }
  assert.ok(interfaces.size > 30 && unions.size > 5, "src/types.ts no longer reads as expected");
  return { interfaces, unions };
}

function check(type, value, at) {
  const wrong = problem(type, value, at);
  assert.equal(wrong, null, wrong ?? "");
}

/** What is wrong with `value`, or null. */
function problem(type, value, at) {
  const choices = type.split("|").map((choice) => choice.trim());
  if (choices.length > 1) {
    const wrong = choices.map((choice) => problem(choice, value, at));
    return wrong.includes(null) ? null : `${at} is ${shown(value)}, not ${type}`;
  }
  if (unions.has(type)) return problem(unions.get(type), value, at);
  if (type.endsWith("[]")) {
    if (!Array.isArray(value)) return `${at} is ${shown(value)}, not a list`;
    return first(value.map((item, place) => problem(type.slice(0, -2), item, `${at}[${place}]`)));
  }
  if (interfaces.has(type)) {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return `${at} is ${shown(value)}, not ${type}`;
    return first(
      interfaces.get(type).map(({ member, optional, type }) => {
        if (value[member] === undefined) return optional ? null : `${at}.${member} is absent`;
        return problem(type, value[member], `${at}.${member}`);
      }),
    );
  }
  if (type.startsWith('"')) return value === JSON.parse(type) ? null : `${at} is ${shown(value)}, not ${type}`;
  if (type === "null") return value === null ? null : `${at} is ${shown(value)}, not null`;
  if (type.startsWith("Record<")) return value !== null && typeof value === "object" ? null : `${at} is ${shown(value)}`;
  if (["string", "number", "boolean"].includes(type)) {
    return typeof value === type ? null : `${at} is ${shown(value)}, not a ${type}`;
  }
  throw new Error(`unknown type ${type} at ${at}`);
}

function first(problems) {
  return problems.find((one) => one !== null) ?? null;
}

function shown(value) {
  return JSON.stringify(value)?.slice(0, 80) ?? "undefined";
}
