// Text and numbers for people. Whatever comes from a record is hostile: it only ever becomes a text node.

// What would let a text reorder the page around it, or not be seen at all, is spelled out.
const UNPRINTABLE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/g;
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

function plain(value) {
  const spelled = (mark) => "⟨U+" + mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩";
  return String(value).replace(UNPRINTABLE, spelled).replace(LONE, spelled);
}

function clip(value, most) {
  const whole = plain(value);
  return whole.length <= most ? whole : whole.slice(0, most) + "…";
}

// A number of a record, whether it stands alone, has an interval or is a summary.
function figure(metrics, key) {
  const value = metrics ? metrics[key] : null;
  if (typeof value === "number") return value;
  if (value === null || typeof value !== "object") return null;
  for (const name of ["value", "mean"]) if (typeof value[name] === "number") return value[name];
  return null;
}

function interval(metrics, key) {
  const ci = metrics && metrics[key] ? metrics[key].ci : null;
  return Array.isArray(ci) && ci.every((end) => typeof end === "number") ? ci : null;
}

const minus = (text) => text.replace("-", "−");
const percent = (value) => (value === null ? "–" : minus((100 * value).toFixed(1)));
const points = (value) => {
  if (value === null) return "–";
  const shown = (100 * value).toFixed(1);
  return Number(shown) > 0 ? "+" + shown : minus(shown.replace(/^-(0\.0)$/, "$1"));
};
const count = (value) => (value === null ? "–" : value.toLocaleString("en-US", { maximumFractionDigits: 0 }));

function short(value) {
  if (value === null) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e4) return minus((value / 1e3).toFixed(size >= 1e5 ? 0 : 1)) + "k";
  if (size >= 100) return minus(value.toFixed(0));
  if (size >= 1e-4) return minus(String(Number(value.toPrecision(3))));
  return minus(value.toExponential(1).replace("e-", "e−"));
}

const range = (ci, show) => show(ci[0]) + " to " + show(ci[1]);
const chance = (p) => (typeof p !== "number" ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));
const saysChance = (p) => (typeof p === "number" && p < 0.001 ? "p < 0.001" : "p = " + chance(p));
// Two rows are told apart by the paired test, here as for the ≈ of the board. With few questions its interval can leave
// out 0 all the same, which alone says nothing.
const isTold = (test) => Boolean(test && typeof test.p === "number" && test.p < 0.05);
const plural = (number, one, many) => number.toLocaleString("en-US") + " " + (number === 1 ? one : many || one + "s");
