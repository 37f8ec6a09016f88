// Values as words: what a person reads on the page.

const CONDITIONS = {
  ok: "OK",
  connecting: "CONNECTING",
  lost: "LOST",
  no_video: "NO VIDEO",
  black: "BLACK",
  frozen: "FROZEN",
  decode_errors: "DECODE ERRORS",
  warming_up: "WARMING UP",
};

export function conditionText(state) {
  if (!state) return "NO STATE";
  if (state.condition && state.condition !== "ok") return CONDITIONS[state.condition] ?? plain(state.condition).toUpperCase();
  return { degraded: "DEGRADED", unknown: "UNKNOWN" }[state.status] ?? "OK";
}

const FAULTS = ["lost", "no_video", "black", "frozen"];

// The picture's fault where it makes the score beside the point, else "".
export function faultText(state) {
  return FAULTS.includes(state.condition) ? CONDITIONS[state.condition] : "";
}

// A name of the wire, such as frame_drop, as a person writes it.
export function plain(name) {
  return String(name).replaceAll("_", " ");
}

const FOREIGN = { dark: "too dark to judge", graphics: "graphics, no footage" };

export function causeText(state) {
  if (state.out_of_domain) return FOREIGN[state.out_of_domain] ?? "unlike what the model knows";
  if (!state.cause || state.cause === "clean") return "";
  const sure = Number.isFinite(state.cause_p) ? ` ${Math.round(state.cause_p * 100)}\u00a0%` : "";
  return plain(state.cause) + sure;
}

export function dropText(state) {
  if (!Number.isFinite(state.drop) || !Number.isFinite(state.baseline)) return "no baseline yet";
  const points = Math.round(state.drop);
  const usual = Math.round(state.baseline);
  if (points > 0) return `▼ ${points} below ${usual}`;
  return points < 0 ? `▲ ${-points} above ${usual}` : `at baseline ${usual}`;
}

export function lineText(state, silentMs) {
  // A narrow tile cuts the end off.
  const parts = [];
  if (Number.isFinite(state.age_ms)) parts.push(`age ${((state.age_ms + silentMs) / 1000).toFixed(1)} s`);
  if (Number.isFinite(state.coverage)) parts.push(`coverage ${Math.round(state.coverage * 100)} %`);
  if (Number.isFinite(state.fps_in)) parts.push(`${trim(state.fps_in)} fps`);
  return parts.join(" · ");
}

function trim(number) {
  return number.toFixed(2).replace(/\.?0+$/, "");
}

// 9 s, 1:05, 2:03:04.
export function durationText(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s} s`;
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return h ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

export function utcTime(ms) {
  return Number.isFinite(ms) ? new Date(ms).toISOString().slice(11, 19) : "–";
}
