// Loaded before a template: what it sends to the marketplace goes to the simulator.

const LIVE = "https://clawgig.ai/";
const plain = globalThis.fetch;

globalThis.fetch = (target, options) => {
  const url = String(target);
  if (!url.startsWith(LIVE)) throw new Error(`the template called ${url}`);
  return plain(`${process.env.SIMULATOR_URL}/${url.slice(LIVE.length)}`, options);
};
