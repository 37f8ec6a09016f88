// The two-minute score trace of a tile, 0 to 100 from bottom to top, now at the right edge.

import { TRACE_MS } from "./feed.js";

const BAND_FLOORS = [21, 41, 61, 81];
export function drawTrace(canvas, stream, now, stale, gapMs) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const style = getComputedStyle(canvas);
  const pen = canvas.getContext("2d");
  const x = (at) => width * (1 - (now - at) / TRACE_MS);
  const y = (score) => height - 1 - (height - 2) * (Math.min(100, Math.max(0, score)) / 100);
  pen.clearRect(0, 0, width, height);

  pen.lineWidth = Math.max(1, Math.round(ratio));
  pen.strokeStyle = style.getPropertyValue("--trace-grid");
  for (const floor of BAND_FLOORS) line(pen, [[0, y(floor)], [width, y(floor)]]);

  const baseline = stream.state?.baseline;
  if (Number.isFinite(baseline)) {
    pen.setLineDash([4 * ratio, 4 * ratio]);
    pen.strokeStyle = style.getPropertyValue("--trace-baseline");
    line(pen, [[0, y(baseline)], [width, y(baseline)]]);
    pen.setLineDash([]);
  }

  pen.lineWidth = 2 * ratio;
  pen.lineJoin = "round";
  pen.strokeStyle = pen.fillStyle = stale ? style.getPropertyValue("--trace-stale") : style.color;
  for (const run of runs(stream.trace, gapMs)) {
    const points = run.map((p) => [x(p.at), y(p.score)]);
    if (points.length === 1) pen.fillRect(points[0][0] - ratio, points[0][1] - ratio, 2 * ratio, 2 * ratio);
    else {
      line(pen, points);
      pen.lineTo(points[points.length - 1][0], height);
      pen.lineTo(points[0][0], height);
      pen.globalAlpha = 0.14;
      pen.fill();
      pen.globalAlpha = 1;
    }
  }
}

// Stretches of known scores; what would have made the tile stale is a gap, which no line bridges.
function runs(trace, gapMs) {
  const found = [];
  let last = null;
  for (const point of trace) {
    if (Number.isFinite(point.score)) {
      if (last && point.at - last.at <= gapMs) found[found.length - 1].push(point);
      else found.push([point]);
      last = point;
    } else {
      last = null;
    }
  }
  return found;
}

function line(pen, points) {
  pen.beginPath();
  points.forEach(([px, py], i) => (i ? pen.lineTo(px, py) : pen.moveTo(px, py)));
  pen.stroke();
}
