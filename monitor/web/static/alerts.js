// The lists beside the mosaic: alerts that are raised now, and what was raised and cleared.

import { severityRank } from "./feed.js";
import { setText } from "./tile.js";
import { durationText, plain, utcTime } from "./words.js";

// `open` is called with an alert whose evidence is wanted; without it none is kept.
export function showActive(list, feed, open) {
  const sorted = [...feed.alerts].sort(
    (a, b) => severityRank(a.severity) - severityRank(b.severity) || b.raised_at.localeCompare(a.raised_at),
  );
  fill(list, sorted, open, (alert) => [
    alert.severity,
    alert.severity.toUpperCase(),
    `${alert.stream}`,
    `${plain(alert.rule)}${measured(alert)}`,
    durationText((feed.wallNow() - Date.parse(alert.raised_at)) / 1000),
  ]);
}

export function showEvents(list, feed, open) {
  fill(list, feed.events, open, (event) => {
    const cleared = event.status === "cleared";
    const lasted = cleared && Number.isFinite(event.duration_s) ? ` after ${durationText(event.duration_s)}` : "";
    return [
      cleared ? "cleared" : event.severity,
      cleared ? "CLEARED" : event.severity.toUpperCase(),
      event.stream,
      `${plain(event.rule)}${cleared ? lasted : measured(event)}`,
      utcTime(Date.parse(cleared ? event.cleared_at : event.raised_at)),
    ];
  });
}

function measured(alert) {
  const cause = alert.cause && alert.cause !== "clean" ? `, ${plain(alert.cause)}` : "";
  if (!Number.isFinite(alert.value)) return cause;
  const limit = Number.isFinite(alert.threshold) ? ` (limit ${round(alert.threshold)})` : "";
  return ` ${round(alert.value)}${limit}${cause}`;
}

function round(value) {
  return Math.abs(value) >= 10 ? String(Math.round(value)) : String(Math.round(value * 10) / 10);
}

function fill(list, items, open, texts) {
  while (list.children.length > items.length) list.lastElementChild.remove();
  while (list.children.length < items.length) {
    const item = document.createElement("li");
    for (const name of ["tag", "who", "what", "when"]) {
      const part = document.createElement("span");
      part.className = name;
      item.append(part);
    }
    item.append(evidenceButton(open));
    list.append(item);
  }
  items.forEach((content, i) => {
    const [level, ...parts] = texts(content);
    const item = list.children[i];
    item.dataset.severity = level;
    parts.forEach((text, k) => setText(item.children[k], text));
    showEvidence(item.lastElementChild, content, open);
  });
}

function evidenceButton(open) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "shot";
  const picture = document.createElement("img");
  picture.alt = "";
  picture.loading = "lazy";
  picture.addEventListener("error", () => (picture.hidden = true));
  const words = document.createElement("span");
  words.textContent = "Evidence";
  button.append(picture, words);
  button.addEventListener("click", () => open?.(button.alert));
  return button;
}

// Items are used again for other alerts as the list moves.
function showEvidence(button, alert, open) {
  button.hidden = !open;
  if (!open) return;
  button.alert = alert;
  const [picture] = button.children;
  const source = alert.still_url ? stillSource(alert) : "";
  if (button.dataset.source === source) return;
  button.dataset.source = source;
  picture.hidden = source === "";
  if (source) picture.src = source;
  button.setAttribute("aria-label", `Evidence of ${alert.stream} ${plain(alert.rule)}`);
}

// The page asks the server that it came from, whatever name that has elsewhere. A clear may bring another picture.
export function stillSource(alert) {
  return `/api/alerts/${encodeURIComponent(alert.id)}/still.jpg?${encodeURIComponent(alert.status)}`;
}
