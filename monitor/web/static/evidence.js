// What an alert left behind: its worst picture, the score around it, what was measured.

import { stillSource } from "./alerts.js";
import { durationText, plain, utcTime } from "./words.js";

const at = (id) => document.getElementById(id);
// The moments of a document, in the order of time, with the words for them.
const MOMENTS = [
  ["worst", "at its worst"],
  ["raised", "at the raise"],
  ["cleared", "at the clear"],
];

export async function openEvidence(alert) {
  at("evidence-title").textContent = `${alert.stream}: ${plain(alert.rule)}`;
  at("evidence-words").textContent = "Reading.";
  show(null, alert);
  at("evidence").showModal();
  try {
    const answer = await fetch(`/api/alerts/${encodeURIComponent(alert.id)}/evidence`, { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.json()).error);
    show(await answer.json(), alert);
  } catch (error) {
    at("evidence-words").textContent = `The monitor has none: ${error.message}`;
  }
}

function show(found, alert) {
  const figure = at("evidence-still").parentElement;
  figure.hidden = !found?.still;
  at("evidence-curve").hidden = at("evidence-values").hidden = !found;
  at("evidence-legend").textContent = "";
  if (!found) return;
  at("evidence-words").textContent = words(found.alert);
  if (found.still) {
    at("evidence-still").src = stillSource(alert);
    at("evidence-still-at").textContent = `${utcTime(Date.parse(found.still.at))} UTC, reduced to ${found.still.width}×${found.still.height}`;
  }
  drawCurve(at("evidence-curve"), found);
  fillTable(at("evidence-values"), found);
}

function words(alert) {
  const parts = [`${alert.severity}, raised ${utcTime(Date.parse(alert.raised_at))} UTC`];
  if (Number.isFinite(alert.duration_s)) parts.push(`cleared after ${durationText(alert.duration_s)}`);
  if (Number.isFinite(alert.value)) parts.push(`worst value ${alert.value} (limit ${alert.threshold})`);
  if (alert.cause && alert.cause !== "clean") parts.push(`probably ${plain(alert.cause)}`);
  return `${parts.join("; ")}.`;
}

function drawCurve(canvas, { curve, alert, worst }) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  if (!curve?.ts?.length) return;
  const paint = canvas.getContext("2d");
  paint.scale(scale, scale);
  const [first, last] = [curve.ts[0], Math.max(curve.ts.at(-1), curve.ts[0] + 1)];
  const x = (ts) => ((ts - first) / (last - first)) * (width - 2) + 1;
  const y = (score) => (1 - score / 100) * (height - 2) + 1;
  const colour = (name) => getComputedStyle(canvas).getPropertyValue(name);
  paint.strokeStyle = colour("--trace-grid");
  for (const score of [0, 50, 100]) line(paint, [[0, y(score)], [width, y(score)]]);
  // From the raise to the clear.
  const raised = Date.parse(alert.raised_at);
  const cleared = alert.cleared_at ? Date.parse(alert.cleared_at) : last;
  paint.fillStyle = "#ff8a3d26";
  paint.fillRect(x(raised), 0, Math.max(1, x(cleared) - x(raised)), height);
  paint.strokeStyle = colour("--trace-baseline");
  paint.setLineDash([4, 4]);
  series(paint, curve.ts, curve.baseline, x, y);
  paint.setLineDash([]);
  paint.strokeStyle = colour("--ink");
  paint.lineWidth = 1.5;
  series(paint, curve.ts, curve.score, x, y);
  if (worst) {
    paint.strokeStyle = colour("--bad");
    const ts = Date.parse(worst.at);
    line(paint, [[x(ts), 0], [x(ts), height]]);
  }
  at("evidence-legend").textContent =
    `Score from 0 to 100, ${utcTime(first)} to ${utcTime(last)} UTC; baseline dashed, the alert shaded, its worst second red.`;
}

// Unknown seconds are gaps.
function series(paint, ts, values, x, y) {
  let points = [];
  ts.forEach((at, i) => {
    if (Number.isFinite(values?.[i])) points.push([x(at), y(values[i])]);
    else {
      line(paint, points);
      points = [];
    }
  });
  line(paint, points);
}

function line(paint, points) {
  paint.beginPath();
  points.forEach(([x, y], i) => (i ? paint.lineTo(x, y) : paint.moveTo(x, y)));
  paint.stroke();
}

function fillTable(table, found) {
  const moments = MOMENTS.filter(([name]) => found[name]);
  const names = [...new Set(moments.flatMap(([name]) => Object.keys(found[name])))];
  const row = (kind, texts) => {
    const line = document.createElement("tr");
    for (const text of texts) {
      const cell = document.createElement(kind);
      cell.textContent = text;
      line.append(cell);
    }
    return line;
  };
  const text = (name, value) => {
    if (value === undefined) return "–";
    return name === "at" ? `${utcTime(Date.parse(value))} UTC` : plain(value);
  };
  table.tHead.replaceChildren(row("th", ["", ...moments.map(([, title]) => title)]));
  const rows = names.map((name) => row("td", [plain(name), ...moments.map(([moment]) => text(name, found[moment][name]))]));
  const stream = Object.entries(found.stream ?? {}).map(([name, value]) => row("td", [plain(name), String(value)]));
  table.tBodies[0].replaceChildren(...rows, ...stream);
}
