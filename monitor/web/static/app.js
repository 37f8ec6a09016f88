// The dashboard: subscribes to everything of one monitor, and shows it once a second and at every message.

import { acceptLevel, showAccepting } from "./accept.js";
import { showActive, showEvents } from "./alerts.js";
import { openEvidence } from "./evidence.js";
import { Feed, worstFirst } from "./feed.js";
import { setText, Tile } from "./tile.js";
import { plain, utcTime } from "./words.js";

const TICK_MS = 500;
const ORDER_MS = 2000;
// Health comes every 10 s even where there is no stream.
const SILENT_MS = 15_000;
const at = (id) => document.getElementById(id);

const tiles = new Map();
let feed = null;
let order = [];
let orderedAt = -Infinity;
let detailsOf = null;
let drawn = false;
let accepts = false; // whether a stream's present level may be accepted from here
let evidence = null; // what opens an alert's evidence, where the monitor keeps any

async function start() {
  let config;
  try {
    const answer = await fetch("/config.json", { cache: "no-store" });
    config = await answer.json();
  } catch {
    banner("The monitor does not answer. Trying again.");
    setTimeout(start, 2000);
    return;
  }
  setText(at("node"), config.node);
  if (!config.ws_url && !config.ws_port) {
    banner("The monitor has no broker with a WebSocket for this page yet. Trying again.");
    setTimeout(start, 2000);
    return;
  }
  feed = new Feed(config.topic_prefix, config.stale_after_s * 1000);
  if (config.evidence) {
    evidence = openEvidence;
    recallAlerts();
  }
  accepts = config.accept === true;
  connect(config);
  if (config.history) recall();
  setInterval(draw, TICK_MS);
  draw();
}

// The two minutes before this page was opened, where the monitor keeps a history.
async function recall() {
  try {
    const answer = await fetch("/api/history?from=2m&fields=score", { cache: "no-store" });
    if (!answer.ok) return;
    const past = await answer.json();
    for (const [id, { ts, score }] of Object.entries(past.streams)) feed.remember(id, past.ts, ts, score, performance.now());
  } catch {
    // The past is a comfort; the present does not wait for it.
  }
}

// The alerts before this page was opened, where the monitor keeps their evidence.
async function recallAlerts() {
  try {
    const answer = await fetch("/api/alerts", { cache: "no-store" });
    if (!answer.ok) return;
    feed.recall((await answer.json()).alerts);
    setText(at("events-since"), "UTC");
    drawSoon();
  } catch {
    // As above.
  }
}

// The broker may be reached by another name from here than from the monitor: the page uses its own.
function brokerUrl(config) {
  if (config.ws_url) return config.ws_url;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return `${scheme}://${location.hostname}:${config.ws_port}/`;
}

function connect(config) {
  const client = mqtt.connect(brokerUrl(config), {
    protocolVersion: 4,
    clientId: `vqwatch-page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`,
    keepalive: 10,
    connectTimeout: 4000,
    reconnectPeriod: 1000,
    // Its other timers are workers made of blobs, which the page's security policy forbids.
    timerVariant: "native",
  });
  client.on("connect", () => {
    feed.up(performance.now());
    client.subscribe(`${config.topic_prefix}/#`, { qos: 0 });
    drawSoon();
  });
  client.on("close", () => {
    feed.down(performance.now());
    drawSoon();
  });
  client.on("error", (error) => {
    feed.problem = error.message || "";
    drawSoon();
  });
  client.on("message", (topic, payload, packet) => {
    feed.receive(topic, payload.toString(), packet.retain, performance.now());
    drawSoon();
  });
}

// Many messages come in one burst each second; one drawing serves them all.
function drawSoon() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => {
    drawn = false;
    draw();
  });
}

function draw() {
  const now = performance.now();
  drawMosaic(now);
  drawHeader(now);
  showActive(at("active"), feed, evidence);
  showEvents(at("events"), feed, evidence);
  at("no-alerts").hidden = feed.alerts.length > 0;
  at("no-events").hidden = feed.events.length > 0;
  if (detailsOf !== null) drawDetails(now);
}

function drawMosaic(now) {
  const mosaic = at("mosaic");
  for (const [id, tile] of tiles) {
    if (feed.streams.has(id)) continue;
    tile.element.remove();
    tiles.delete(id);
    orderedAt = -Infinity;
  }
  let urgent = false;
  for (const stream of feed.streams.values()) {
    let tile = tiles.get(stream.id);
    if (!tile) {
      tile = new Tile(stream.id, at("tile"), openDetails);
      tiles.set(stream.id, tile);
      orderedAt = -Infinity;
      mosaic.append(tile.element);
    }
    const { severity, blind } = tile.element.dataset;
    tile.element.dataset.problem = String(tile.show(feed, stream, now));
    urgent ||= severity !== tile.element.dataset.severity || blind !== tile.element.dataset.blind;
  }
  if (urgent || now - orderedAt > ORDER_MS) arrange(mosaic, now);
  // About as many columns as rows on a wide screen; style.css takes fewer where a tile would get too narrow.
  mosaic.style.setProperty("--columns", columns(tiles.size));
  const problemsOnly = mosaic.dataset.problems === "true";
  const shown = [...tiles.values()].filter((tile) => !problemsOnly || tile.element.dataset.problem === "true");
  at("empty").hidden = shown.length > 0;
  setText(at("empty"), tiles.size ? `All ${tiles.size} streams are fine.` : "Waiting for the first stream.");
}

function arrange(mosaic, now) {
  orderedAt = now;
  const wanted = worstFirst(feed, order, now);
  if (wanted.join() === order.join() && mosaic.children.length === wanted.length) return;
  order = wanted;
  // Moving an element takes the keyboard focus from it.
  const focused = document.activeElement;
  mosaic.append(...order.map((id) => tiles.get(id).element));
  if (focused && mosaic.contains(focused)) focused.focus({ preventScroll: true });
}

function columns(count) {
  return Math.max(1, Math.min(10, Math.ceil(Math.sqrt(count * 1.2))));
}

function drawHeader(now) {
  const { health, nodeStatus } = feed;
  const quiet = feed.lastLiveAt === null ? now - (feed.connectedAt ?? now) : now - feed.lastLiveAt;
  const silent = feed.connected && quiet > SILENT_MS;
  const alive = feed.connected && !silent && nodeStatus !== "offline" && nodeStatus !== "stopped";
  const states = [...tiles.values()].map((tile) => tile.element.dataset.status);
  const ok = states.filter((status) => status === "ok").length;

  const said = feed.connected ? (silent ? "silent" : nodeStatus) : null;
  mark("node-status", said ?? "unknown", alive && nodeStatus === "online" ? "good" : "bad");
  mark("streams", `${ok} / ${states.length}`, ok === states.length ? "good" : "bad");
  mark("alert-count", String(feed.alerts.length), feed.alerts.length ? "bad" : "good");
  mark("link", feed.connected ? "live" : feed.everConnected ? "LOST" : "connecting", feed.connected ? "good" : "bad");
  setText(at("engine"), alive && health?.engine ? health.engine : "–");
  const shed = health?.shed > 0 ? ` (${Math.round(health.shed * 100)} % shed)` : "";
  mark("rate", alive && Number.isFinite(health?.samples_per_s) ? `${Math.round(health.samples_per_s)}${shed}` : "–", shed ? "bad" : "");
  setText(at("clock"), utcTime(feed.wallNow()));
  document.body.dataset.live = String(alive);
  document.title = `${feed.alerts.length ? `(${feed.alerts.length}) ` : ""}${alive ? "" : "NOT LIVE · "}vqwatch ${feed.prefix.split("/")[1]}`;
  banner(trouble(now, silent, quiet));
}

// What makes the whole page untrue, in one sentence; empty where nothing does.
function trouble(now, silent, quiet) {
  if (!feed.connected) {
    const why = feed.problem ? ` (${feed.problem})` : "";
    if (!feed.everConnected) return feed.lostAt === null ? "" : `This page cannot reach the broker${why}. Trying again.`;
    return `This page lost the broker ${Math.floor((now - feed.lostAt) / 1000)} s ago${why}: nothing below is live. Reconnecting.`;
  }
  if (feed.nodeStatus === "offline") return "The monitor is offline: it ended without a word. Nothing below is live.";
  if (feed.nodeStatus === "stopped") return "The monitor was stopped. Nothing below is live.";
  if (silent) return `The monitor has sent nothing for ${Math.floor(quiet / 1000)} s. Nothing below is live.`;
  return "";
}

function mark(id, text, tone) {
  setText(at(id), text);
  at(id).dataset.tone = tone;
}

function banner(text) {
  at("banner").hidden = text === "";
  setText(at("banner"), text);
}

function openDetails(id) {
  detailsOf = id;
  setText(at("accepted"), "");
  drawDetails(performance.now());
  at("details").showModal();
}

function drawDetails(now) {
  const stream = feed.streams.get(detailsOf);
  const stale = stream ? feed.staleness(stream, now) : { word: "NO LONGER WATCHED", since: "" };
  setText(at("details-title"), stale ? `${detailsOf}: ${stale.word} ${stale.since}` : detailsOf);
  showAccepting(at("accepting"), accepts && !stale ? stream?.state : null);
  const rows = Object.entries({ ...stream?.info, ...stream?.state }).filter(([name]) => name !== "v");
  const list = at("details-list");
  if (list.children.length !== rows.length * 2) {
    list.replaceChildren(...rows.flatMap(() => [document.createElement("dt"), document.createElement("dd")]));
  }
  rows.forEach(([name, value], i) => {
    setText(list.children[2 * i], plain(name));
    setText(list.children[2 * i + 1], name === "ts" ? `${utcTime(value)} UTC` : String(value));
  });
}

at("details").addEventListener("close", () => (detailsOf = null));
at("accept").addEventListener("click", async () => setText(at("accepted"), await acceptLevel(detailsOf)));
at("problems").addEventListener("click", (event) => {
  const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", String(on));
  at("mosaic").dataset.problems = String(on);
  if (feed) draw();
});
start();
