// The overview: rates over time as plots, gauges now, drops by reason, and the last trouble.

import { TimeChart } from "./charts.js";
import { byId, keepRows, make, say } from "./dom.js";
import { eventRow } from "./describe.js";
import * as format from "./format.js";

const MINUTE = 60_000;
// What "now" means in numbers: long enough that they can be read.
const LATEST_MS = 3000;
const TROUBLES = 12;
// The last colour is for all other reasons together.
const REASONS = 6;

const counter = (label, tone, key) => ({ label, tone, value: (point) => point.rate(key) });

const CHARTS = [
  {
    title: "Throughput", unit: "bytes per second", format: format.byteRate, least: 1000,
    series: () => [counter("to guest", 1, "bytes_to_guest"), counter("from guest", 2, "bytes_from_guest")],
  },
  {
    title: "Packets", unit: "frames per second", format: format.rate, least: 10,
    series: () => [counter("to guest", 1, "frames_to_guest"), counter("from guest", 2, "frames_from_guest")],
  },
  {
    title: "Active flows", unit: "highest of each moment", format: format.count, least: 4,
    series: () => [{ label: "flows", tone: 1, value: (point) => point.peak("active") }],
  },
  {
    title: "Connections", unit: "TCP per second", format: format.rate,
    series: () => [counter("opened", 1, "opened"), counter("refused, in", 3, "refused"),
      counter("refused, out", 4, "egress_refused")],
  },
  {
    title: "Drops", unit: "per second, by reason", format: format.rate, stacked: true,
    series: dropSeries,
  },
  {
    title: "Name queries", unit: "per second", format: format.rate,
    series: (points) => (points.at(-1)?.keys("dns_").length === 0 ? [] : [
      counter("asked", 1, "dns_queries"), counter("from the cache", 5, "dns_hits"),
      counter("not answered", 3, "dns_failed")]),
  },
];

export class Overview {
  #history;
  #charts;
  #events = [];
  #stats = null;
  #limits = null;
  #span = 5 * MINUTE;

  constructor(history) {
    this.#history = history;
    this.#charts = CHARTS.map((options) =>
      new TimeChart(options, (chart, time, byKeyboard) => this.#point(chart, time, byKeyboard)));
    byId("charts").append(...this.#charts.map((chart) => chart.element));
    byId("span").addEventListener("change", (event) => {
      this.#span = Number(event.target.value) * MINUTE;
      this.update();
    });
  }

  /** The engine's counters, or null while they are not known. */
  set stats(stats) {
    this.#stats = stats;
  }

  set limits(limits) {
    this.#limits = limits;
  }

  /** The newest events that tell of trouble, newest first. */
  set trouble(records) {
    this.#events = records.slice(0, TROUBLES);
  }

  show() {
    this.update();
  }

  hide() {}

  update() {
    const now = Date.now();
    const points = this.#history.points(this.#span, now);
    for (const chart of this.#charts) {
      chart.show(points, now - this.#span, now);
    }
    const begin = this.#history.begin;
    say(byId("since"), begin === null ? "Nothing measured yet."
      : `Measured since ${format.clock(begin)}, when this page was opened; kept while it is open, for an hour.`);
    this.#showTrouble();
    if (this.#stats !== null) {
      const latest = this.#history.latest(LATEST_MS);
      this.#showTiles(latest);
      this.#showDrops(latest);
      this.#showGauges();
    }
  }

  #point(chart, time, byKeyboard) {
    for (const each of this.#charts) {
      each.mark(time);
    }
    if (byKeyboard) {
      say(byId("spoken"), time === null ? "" : chart.spoken);
    }
  }

  #showTiles(point) {
    const { flows, dial_seconds: dial, guest_rtt_seconds: rtt } = this.#stats;
    const rate = (key, shape) => (point === undefined ? format.NONE : shape(point.rate(key)));
    const drops = point?.keys("drop:").reduce((sum, key) => sum + point.rate(key), 0);
    const limit = this.#limits?.max_flows;
    tiles([
      ["Active flows", format.count(flows.active), limit === undefined ? "" : `of at most ${format.count(limit)}`],
      ["To guest", rate("bytes_to_guest", format.byteRate), rate("frames_to_guest", format.rate).replace("/s", " packets/s")],
      ["From guest", rate("bytes_from_guest", format.byteRate), rate("frames_from_guest", format.rate).replace("/s", " packets/s")],
      ["Connections", rate("opened", format.rate), `${format.count(flows.opened)} since start`],
      ["Dropped", drops === undefined ? format.NONE : format.rate(drops), `refused: ${format.count(flows.refused + flows.egress_refused)}`],
      ["Dial, median", format.quantile(dial, 0.5), `95 %: ${format.quantile(dial, 0.95)}`],
      ["Guest RTT, median", format.quantile(rtt, 0.5), `95 %: ${format.quantile(rtt, 0.95)}`],
      ["Loop busy", rate("busy", format.percent), "of one core"],
    ]);
  }

  #showDrops(point) {
    const drops = [...this.#stats.drops].sort((a, b) => b.count - a.count);
    byId("drops-empty").hidden = drops.length > 0;
    keepRows(byId("drops"), drops, (drop) => drop.reason, (drop) => make("tr", {},
      make("th", { scope: "row" }, format.words(drop.reason)),
      make("td", { class: "number" }), make("td", { class: "number" })), (row, drop) => {
      const now = point?.rate(`drop:${drop.reason}`) ?? 0;
      say(row.children[1], now === 0 ? "" : format.rate(now));
      say(row.children[2], format.count(drop.count));
    });
  }

  #showGauges() {
    const { flows, driver } = this.#stats;
    const phases = Object.entries(flows.tcp_by_phase)
      .filter(([phase, number]) => number > 0 || phase === "relaying")
      .map(([phase, number]) => [`TCP, ${format.words(phase)}`, number]);
    gauges(byId("gauges"), [
      ...phases,
      ["UDP clients of published ports", flows.udp_clients],
      ["UDP and echo mappings of the guest", flows.mappings],
      ["TIME-WAIT", flows.time_wait],
      ["Open sockets", `${format.count(driver.open_sockets)} of ${format.count(driver.descriptor_limit)}`],
      ["Listeners", driver.listeners],
      ["Failed accepts", driver.accept_errors],
      ["Datagrams queued", format.bytes(driver.datagram_queue_bytes)],
      ["Events that readers missed", driver.events_lost],
      ["Captures running", driver.captures],
    ]);
  }

  #showTrouble() {
    byId("trouble-empty").hidden = this.#events.length > 0;
    keepRows(byId("trouble"), this.#events, (record) => record.seq, eventRow);
  }
}

/** Rows of a name and a value; numbers are written as counts. */
export function gauges(body, rows) {
  keepRows(body, rows, ([name]) => name, ([name]) => make("tr", {},
    make("th", { scope: "row" }, name), make("td", { class: "number" })), (row, [, value]) =>
    say(row.children[1], typeof value === "number" ? format.count(value) : value));
}

function tiles(entries) {
  keepRows(byId("tiles"), entries, ([name]) => name, ([name]) => make("div", {},
    make("dt", {}, name), make("dd", { class: "figure" }), make("dd", { class: "note" })),
  (tile, [, figure, note]) => {
    say(tile.children[1], figure);
    say(tile.children[2], note);
  });
}

/** The reasons with the most drops in what is shown, the largest first, and the others as one. */
function dropSeries(points) {
  const keys = points.at(-1)?.keys("drop:") ?? [];
  const sums = keys.map((key) => [key, points.reduce((sum, point) => sum + point.rate(key), 0)]);
  const ranked = sums.filter(([, sum]) => sum > 0).sort((a, b) => b[1] - a[1]).map(([key]) => key);
  // In the order of their names, so that colours stay with reasons while ranks change.
  const shown = ranked.slice(0, REASONS).sort();
  const others = ranked.slice(REASONS);
  const series = shown.map((key, i) => counter(format.words(key.slice("drop:".length)), i + 1, key));
  if (others.length > 0) {
    const value = (point) => others.reduce((sum, key) => sum + point.rate(key), 0);
    series.push({ label: others.length === 1 ? "1 other reason" : `${others.length} other reasons`, tone: 7, value });
  }
  return series;
}
