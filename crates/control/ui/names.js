// The gateway's name server: whom it asks, its own records, its cache.

import { get, request } from "./api.js";
import { confirm } from "./confirm.js";
import { byId, complain, keepRows, make, repeatedly, say } from "./dom.js";
import * as format from "./format.js";
import { gauges } from "./overview.js";

const PAUSE_MS = 2000;
const CACHE_ROWS = 200;

export class Names {
  #loop = repeatedly(() => this.#fetch(), () => PAUSE_MS);

  constructor() {
    byId("record").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#setRecord();
    });
    byId("flush").addEventListener("click", async () => {
      await confirm("Flush the cache?", "Names are asked for again when the guest needs them.",
        [{ label: "Flush", run: () => request("DELETE", "dns/cache") }]);
      this.#loop.start();
    });
  }

  show() {
    this.#loop.start();
  }

  hide() {
    this.#loop.stop();
  }

  update() {}

  async #fetch() {
    try {
      const [status, { records }, cache] = await Promise.all([
        get("dns"), get("dns/records"), get(`dns/cache?limit=${CACHE_ROWS}`)]);
      complain(byId("dns-problem"), null);
      byId("dns-body").hidden = false;
      showStatus(status);
      this.#showRecords(records);
      showCache(cache);
    } catch (problem) {
      complain(byId("dns-problem"), problem);
      // Where there is no name server there is nothing else to show; otherwise what was last known.
      byId("dns-body").hidden ||= problem.status === 409;
    }
  }

  async #setRecord() {
    const name = byId("record-name").value.trim();
    const addresses = byId("record-addresses").value.split(/[\s,]+/).filter(Boolean);
    await this.#change(async () => {
      await request("PUT", `dns/records/${encodeURIComponent(name)}`, { addresses });
      byId("record").reset();
    });
  }

  async #removeRecord(name) {
    await this.#change(() => request("DELETE", `dns/records/${encodeURIComponent(name)}`));
  }

  async #change(run) {
    try {
      await run();
      complain(byId("record-problem"), null);
    } catch (problem) {
      complain(byId("record-problem"), problem);
    }
    this.#loop.start();
  }

  #showRecords(records) {
    byId("records-empty").hidden = records.length > 0;
    keepRows(byId("records"), records, (record) => record.name, ({ name }) => make("tr", {},
      make("th", { scope: "row" }, name), make("td", { class: "address" }), make("td", { class: "number" }),
      make("td", { class: "kill" }, make("button", {
        type: "button", class: "small danger", "aria-label": `Remove ${name}`,
        onclick: () => this.#removeRecord(name),
      }, "Remove"))), (row, record) => {
      say(row.children[1], record.addresses.join(", "));
      say(row.children[2], format.age(record.ttl));
    });
  }
}

function showStatus(status) {
  byId("upstreams-empty").hidden = status.upstreams.length > 0;
  keepRows(byId("upstreams"), status.upstreams, (upstream) => upstream.address, (upstream) => make("tr", {},
    make("th", { scope: "row", class: "address" }, upstream.address), make("td"), make("td", { class: "number" })),
  (row, upstream) => {
    say(row.children[1], upstream.down ? "fails, asked last" : "answers");
    row.children[1].className = upstream.down ? "state-paused" : "";
    say(row.children[2], upstream.latency_us === undefined ? format.NONE : format.duration(upstream.latency_us / 1e6));
  });
  const { counters } = status;
  gauges(byId("dns-gauges"), [
    ["Search list", status.search.join(", ") || "none"],
    ["Queries of the guest", counters.queries],
    ["Answered by an upstream", counters.answered],
    ["Answered from the cache", counters.cache_hits],
    ["Answered from local names", counters.local],
    ["Failed, no usable answer", counters.failed],
    ["Failed, too many waiting", counters.overflowed],
    ["Denied names", counters.denied],
    ["Rejected or dropped", counters.rejected + counters.dropped],
    ["Answers withheld (rebinding)", counters.rebind_blocked],
    ["Upstreams’ timeouts and failures", counters.upstream_timeouts + counters.upstream_failures],
    ["Waiting now", status.waiting],
    ["Cache", `${format.count(status.cache_entries)} answers, ${format.bytes(status.cache_bytes)}`],
  ]);
}

function showCache(cache) {
  const { entries, total } = cache;
  byId("cache-empty").hidden = entries.length > 0;
  byId("flush").disabled = entries.length === 0;
  say(byId("cache-count"), total > entries.length
    ? `the last used ${entries.length} of ${format.count(total)}` : `${format.count(total)} answers`);
  keepRows(byId("cache"), entries, (entry) => `${entry.name} ${entry.type}`, (entry) => make("tr", {},
    make("th", { scope: "row" }, entry.name), make("td", {}, entry.type),
    make("td", { class: "address" }), make("td", { class: "number" })), (row, entry) => {
    say(row.children[2], entry.addresses.join(", ") || entry.rcode);
    say(row.children[3], format.age(entry.ttl));
  });
}
