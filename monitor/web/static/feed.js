// What the broker has said: the newest of every topic, when it arrived by this page's own clock, and two minutes
// of scores. Times are performance.now() milliseconds: a wall clock may be wrong or be set.

export const TRACE_MS = 120_000;
const EVENTS_KEPT = 40;

export class Feed {
  constructor(prefix, staleAfterMs) {
    this.prefix = prefix;
    this.staleAfterMs = staleAfterMs;
    this.connected = false;
    this.lostAt = null; // when the broker went away; null while it is there
    this.everConnected = false;
    this.problem = ""; // what the broker or the browser last said about the connection
    this.nodeStatus = null;
    this.health = null;
    this.alerts = [];
    this.events = [];
    this.streams = new Map();
    this.past = new Map(); // points from before the page was opened, of streams that have not said anything yet
    this.lastLiveAt = null;
    this.connectedAt = null;
    this.clockAheadMs = 0; // monitor's wall clock less this machine's
  }

  up(now) {
    this.connected = true;
    this.everConnected = true;
    this.connectedAt = now;
    this.lostAt = null;
    this.problem = "";
  }

  down(now) {
    if (this.connected || this.lostAt === null) this.lostAt = now;
    this.connected = false;
  }

  // Takes in one message; false where it is none of ours.
  receive(topic, payload, retained, now) {
    if (!topic.startsWith(`${this.prefix}/`)) return false;
    const levels = topic.slice(this.prefix.length + 1).split("/");
    // A retained message is as old as the broker's memory: it shows what was, never that anything lives.
    if (!retained) this.lastLiveAt = now;
    if (levels[0] === "status" && levels.length === 1) {
      this.nodeStatus = payload;
      return true;
    }
    if (levels[0] === "stream" && levels.length === 3 && payload === "") {
      if (levels[2] === "state") this.streams.delete(levels[1]);
      return true;
    }
    let content;
    try {
      content = JSON.parse(payload);
    } catch {
      return false;
    }
    if (content === null || typeof content !== "object" || content.v !== 1) return false;
    if (levels.length === 1) return this.#ofNode(levels[0], content);
    if (levels[0] === "stream" && levels.length === 3) return this.#ofStream(levels[1], levels[2], content, retained, now);
    return false;
  }

  #ofNode(kind, content) {
    if (kind === "health") this.health = content;
    else if (kind === "alerts" && Array.isArray(content.active)) this.alerts = content.active;
    else return false;
    return true;
  }

  #ofStream(id, kind, content, retained, now) {
    if (kind === "alert") {
      // QoS 1 may deliver twice.
      if (this.events.some((e) => e.id === content.id && e.status === content.status)) return true;
      this.events.unshift(content);
      this.events.length = Math.min(this.events.length, EVENTS_KEPT);
      return true;
    }
    if (kind !== "state" && kind !== "info") return false;
    let stream = this.streams.get(id);
    if (!stream) {
      stream = { id, state: null, info: null, arrivedAt: null, trace: this.past.get(id) ?? [] };
      this.past.delete(id);
      this.streams.set(id, stream);
    }
    stream[kind] = content;
    if (kind === "state" && !retained) {
      stream.arrivedAt = now;
      stream.trace.push({ at: now, score: content.status === "unknown" ? undefined : content.score });
      while (stream.trace.length && stream.trace[0].at < now - TRACE_MS - 2000) stream.trace.shift();
      if (Number.isFinite(content.ts)) this.clockAheadMs = content.ts - Date.now();
    }
    return true;
  }

  // Takes in recorded scores: `wall` is the monitor's clock (unix ms) at `now`, `ts` are its times. They are of the past
  // and say nothing of the stream being alive.
  remember(id, wall, ts, scores, now) {
    const points = ts.map((at, i) => ({ at: now - (wall - at), score: scores[i] ?? undefined }));
    const stream = this.streams.get(id);
    const first = stream?.trace[0]?.at ?? Infinity;
    const older = points.filter((point) => point.at < first);
    if (stream) stream.trace.unshift(...older);
    else this.past.set(id, older);
  }

  // Takes in alerts of the past, newest first: what is up among them has its place in the other list.
  recall(alerts) {
    const known = new Set(this.events.map((event) => event.id));
    this.events.push(...alerts.filter((alert) => !known.has(alert.id)));
    this.events.length = Math.min(this.events.length, EVENTS_KEPT);
  }

  // Why a stream's numbers cannot be taken as of now, in one word or two and for how long; null where they can.
  staleness(stream, now) {
    const silent = stream.arrivedAt === null ? null : now - stream.arrivedAt;
    const since = silent === null ? "" : `no data for ${seconds(silent)}`;
    if (!this.connected) return { word: "NOT LIVE", since };
    if (this.nodeStatus === "offline") return { word: "OFFLINE", since };
    if (this.nodeStatus === "stopped") return { word: "STOPPED", since };
    if (silent === null) return { word: "NOT LIVE", since: "waiting for live data" };
    return silent > this.staleAfterMs ? { word: "NO DATA", since: `for ${seconds(silent)}` } : null;
  }

  alertsOf(id) {
    return this.alerts.filter((alert) => alert.stream === id);
  }

  // The monitor's wall clock, as far as its messages tell; unix ms.
  wallNow() {
    return Date.now() + this.clockAheadMs;
  }
}

function seconds(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 120) return `${s} s`;
  return s < 7200 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
}

const SEVERITIES = ["critical", "major", "minor", "warning", "info"];

export function severityRank(severity) {
  const rank = SEVERITIES.indexOf(severity);
  return rank < 0 ? SEVERITIES.length : rank;
}

export function worstAlert(alerts) {
  return alerts.reduce((worst, a) => (!worst || severityRank(a.severity) < severityRank(worst.severity) ? a : worst), null);
}

// Points by which a stream must be worse than its neighbour to change places with it: tiles that trade places
// every second cannot be found.
const PLACE_MARGIN = 3;

// Stream ids worst first: alerting (severest first), then without a score, then by score; `previous` is the
// order shown so far.
export function worstFirst(feed, previous, now) {
  const keys = new Map();
  for (const stream of feed.streams.values()) {
    const worst = worstAlert(feed.alertsOf(stream.id));
    const blind = feed.staleness(stream, now) !== null || stream.state?.status === "unknown";
    const group = worst ? severityRank(worst.severity) : blind ? 100 : 200;
    keys.set(stream.id, { group, score: blind ? -1 : (stream.state?.score_10s ?? stream.state?.score ?? -1) });
  }
  const known = previous.filter((id) => keys.has(id));
  const fresh = [...keys.keys()].filter((id) => !known.includes(id));
  fresh.sort((a, b) => keys.get(a).score - keys.get(b).score || a.localeCompare(b));
  const order = [...known, ...fresh];
  order.sort((a, b) => keys.get(a).group - keys.get(b).group);
  for (let swapped = true; swapped; ) {
    swapped = false;
    for (let i = 1; i < order.length; i++) {
      const [a, b] = [keys.get(order[i - 1]), keys.get(order[i])];
      if (a.group === b.group && a.score > b.score + PLACE_MARGIN) {
        [order[i - 1], order[i]] = [order[i], order[i - 1]];
        swapped = true;
      }
    }
  }
  return order;
}
