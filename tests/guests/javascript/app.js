// A collector in JavaScript: power, temperature and utilisation of NVIDIA cards out of dcgm-exporter's text.
// A target with `config = { mode = "…" }` makes it misbehave: what the host makes of that is tested.

import http from "kcloud:collector/http";
import log from "kcloud:collector/log";

// Metric, unit, factor, and the names before and from DCGM 4.6.
const ROWS = [
  ["power_watts", "watts", 1, ["DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS"]],
  ["temperature_celsius", "celsius", 1, ["DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS"]],
  ["utilization_ratio", "ratio", 0.01, ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO"]],
];
const NAMES = new Map(ROWS.flatMap(([, , factor, names], metric) => names.map((name) => [name, { metric, factor }])));
// From here on DCGM's numbers are words for "no reading".
const BLANK = 1e15;
const MISBEHAVE = {
  throw: () => nobody.defined.this,
  loop: () => { for (;;); },
  recurse: function deeper() { return 1 + deeper(); },
  eat: () => { for (const kept = []; ;) kept.push(new Uint8Array(1 << 20).fill(1)); },
  chatter: () => { for (let line = 0; line < 1_000; line++) log.emit("info", `line ${line}`, []); throw "all"; },
};
const SCHEMA = { type: "object", additionalProperties: false };

const label = (key, value) => ({ key, value });
const subject = (kind, identity, labels, parent) => ({ kind, identity, labels, parent, observedAt: null });
// A result's error is thrown: `CollectError` by its case and text.
const refuse = (tag, val) => { throw { tag, val }; };

function describe() {
  const metrics = ROWS.map(([name, unit]) => ({ name, help: "", unit, kind: "gauge", quality: "measured", states: [] }));
  return {
    name: "javascript", version: "0.1.0", vendor: "KCloud", description: "NVIDIA cards through dcgm-exporter, in JavaScript",
    metrics, configSchema: JSON.stringify(SCHEMA), affinity: "none",
  };
}

// QuickJS has no TextDecoder; in pieces, since each byte is an argument.
function text(bytes) {
  let all = "";
  for (let i = 0; i < bytes.length; i += 4096) all += String.fromCharCode(...bytes.slice(i, i + 4096));
  return decodeURIComponent(escape(all));
}

function read(target, timeoutMs) {
  let answer;
  try {
    answer = http.send({ method: "GET", url: target.address, headers: [], body: null, credential: target.credential, timeoutMs });
  } catch (error) {
    refuse(error.tag === "denied" ? "denied" : "unreachable", `${target.address}: ${error.tag} ${error.val ?? ""}`);
  }
  if (answer.status !== 200) {
    refuse([401, 403].includes(answer.status) ? "auth" : "unreachable", `${target.address} answered ${answer.status}`);
  }
  return text(answer.body);
}

function collect(target, deadlineMs, _page, _cursor) {
  MISBEHAVE[JSON.parse(target.config).mode]?.();
  const [subjects, points, gaps, nodes, cards] = [[], [], [], new Map(), new Map()];
  const add = (known, key, make) => known.get(key) ?? known.set(key, subjects.push(make()) - 1).get(key);
  const seen = new Set();
  for (const line of read(target, deadlineMs).split("\n")) {
    const open = line.indexOf("{");
    const row = open > 0 && NAMES.get(line.slice(0, open));
    if (!row) continue;
    // Labels of these families hold no comma, quote or brace.
    const close = line.lastIndexOf("} ");
    const labels = Object.fromEntries(line.slice(open + 1, close).split(",").map((pair) => pair.replaceAll('"', "").split("=")));
    const value = Number(line.slice(close + 2));
    const name = labels.Hostname ?? labels.hostname ?? target.id;
    const card = add(cards, labels.UUID, () => {
      const node = add(nodes, name, () => subject("node", [label("node", name)], [], null));
      const identity = [["uuid", labels.UUID], ["pci_address", labels.pci_bus_id], ["device", labels.device], ["node", name]];
      const about = [["model", labels.modelName], ["class", "gpu"], ["vendor", "nvidia"]];
      return subject("accelerator", identity.map((l) => label(...l)), about.map((l) => label(...l)), node);
    });
    // A card's value stands again on each of its MIG instances: it counts once.
    if (seen.has(`${card} ${row.metric}`)) continue;
    seen.add(`${card} ${row.metric}`);
    if (Number.isFinite(value) && value < BLANK) points.push({ metric: row.metric, subject: card, value: value * row.factor });
    else gaps.push({ metric: row.metric, subject: card, reason: "unsupported" });
  }
  if (cards.size === 0) refuse("protocol", `${target.address}: no card in its answer`);
  return {
    coverage: "whole", metrics: [], subjects, points, timedPoints: [], states: [], histograms: [], gaps, events: [], problems: [],
    tombstones: [], nextPage: null, cursor: null,
  };
}

export const collector = { describe, configure: () => {}, discover: () => [], collect };
