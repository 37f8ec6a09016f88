// One stream's tile.

import { worstAlert } from "./feed.js";
import { drawTrace } from "./trace.js";
import { causeText, conditionText, dropText, durationText, faultText, lineText, plain, utcTime } from "./words.js";

export class Tile {
  constructor(id, template, open) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.stream = id;
    this.parts = {};
    for (const name of ["name", "badge", "alert-tag", "score", "band", "drop", "cause", "trace", "line"]) {
      this.parts[name] = this.element.querySelector(`.${name}`);
    }
    this.button = this.element.querySelector("button");
    this.button.addEventListener("click", () => open(id));
    setText(this.parts.name, id);
  }

  // Shows the stream as of `now`; whether an operator has reason to look at it.
  show(feed, stream, now) {
    const { parts } = this;
    const stale = feed.staleness(stream, now);
    const state = stream.state;
    const scored = stale === null && state?.status !== "unknown" && Number.isFinite(state?.score);
    // A score of a black or frozen picture is a number, but no news; the fault is.
    const headline = scored ? faultText(state) : (stale?.word ?? blindText(state));
    const alerts = feed.alertsOf(stream.id);
    const alert = worstAlert(alerts);
    const data = this.element.dataset;
    data.stale = String(stale !== null);
    data.blind = String(!scored);
    data.headline = String(headline !== "");
    data.band = scored && !headline ? (state.band ?? "none") : "none";
    data.severity = alert ? alert.severity : "none";
    data.status = stale !== null ? "stale" : (state?.status ?? "unknown");
    data.condition = state?.condition ?? "unknown";

    const condition = stale !== null ? "STALE" : conditionText(state);
    // Said once: neither beside the same word in large type, nor "OK" beside an alert.
    setText(parts.badge, condition === headline || (alert && condition === "OK") ? "" : condition);
    setText(parts["alert-tag"], alert ? alertText(feed, alert, alerts.length) : "");
    // An old number in large type would be read as today's, whatever its colour.
    setText(parts.score, headline || String(Math.round(state.score)));
    setText(parts.band, stale !== null ? stale.since : scored && !headline ? (state.band ?? "") : "");
    setText(parts.drop, scored ? (headline ? `score ${Math.round(state.score)}` : dropText(state)) : lastKnown(stream));
    setText(parts.cause, scored && !headline ? causeText(state) : "");
    setText(parts.line, stale !== null || !state ? "" : lineText(state, now - stream.arrivedAt));
    drawTrace(parts.trace, stream, now, !scored, feed.staleAfterMs);
    return !scored || alert !== null || data.status !== "ok";
  }
}

function blindText(state) {
  const condition = conditionText(state);
  return condition === "OK" ? "NO SCORE" : condition;
}

function alertText(feed, alert, count) {
  const lasting = durationText((feed.wallNow() - Date.parse(alert.raised_at)) / 1000);
  const more = count > 1 ? ` +${count - 1}` : "";
  return `${alert.severity.toUpperCase()} ${lasting} · ${plain(alert.rule)}${more}`;
}

function lastKnown(stream) {
  const last = stream.trace.findLast((point) => Number.isFinite(point.score));
  if (last) return `last score ${Math.round(last.score)}`;
  const state = stream.state;
  return state && Number.isFinite(state.score) ? `last score ${Math.round(state.score)} at ${utcTime(state.ts)} UTC` : "";
}

// Writing the same text again would still cost a layout, for every tile, every second.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
