// Events: the stream, what is kept of it, and the list of them.
//
// Only the newest are kept. Flows come and go so often that they would push out what is rare, so
// they have a store of their own.

import { stream } from "./api.js";
import { describe, eventRow, GROUPS, groupOf } from "./describe.js";
import { byId, make, say } from "./dom.js";
import * as format from "./format.js";

const KEPT = 1000;
const OFTEN = new Set(["flow_opened", "flow_closed", "dns_answered"]);
const ROWS = 500;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;

/** The newest events of the engine. Calls `onNews` after each batch. */
export class EventFeed {
  #often = [];
  #seldom = [];
  #seq = 0;
  #stop = null;
  #pause = FIRST_PAUSE_MS;
  #onNews;
  #due = null;
  /** Why there is no stream now, or null. */
  problem = null;

  constructor(onNews) {
    this.#onNews = onNews;
  }

  /** Follows the stream, behind the last event seen, until `stop`. */
  async start() {
    if (this.#stop !== null) {
      return;
    }
    const stop = new AbortController();
    this.#stop = stop;
    for (;;) {
      try {
        await stream(`events?since=${this.#seq}`, stop.signal, () => this.#opened(), (r) => this.#take(r));
        this.problem = new Error("the event stream ended");
      } catch (problem) {
        this.problem = problem;
      }
      if (stop.signal.aborted) {
        return;
      }
      this.#soon();
      await sleep(this.#pause, stop.signal);
      if (stop.signal.aborted) {
        return;
      }
      this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    }
  }

  /** Lets the stream go. A browser has few connections to one server; a hidden page needs none. */
  stop() {
    this.#stop?.abort();
    this.#stop = null;
  }

  /** Begins anew: another engine answers. */
  forget() {
    const follows = this.#stop !== null;
    this.stop();
    this.#often = [];
    this.#seldom = [];
    this.#seq = 0;
    this.#pause = FIRST_PAUSE_MS;
    if (follows) {
      this.start();
    }
  }

  /** Those that pass, newest first, at most `most`. */
  newest(passes, most) {
    const found = [];
    let o = this.#often.length - 1;
    let s = this.#seldom.length - 1;
    while ((o >= 0 || s >= 0) && found.length < most) {
      const often = o >= 0 && (s < 0 || this.#often[o].seq > this.#seldom[s].seq);
      const record = often ? this.#often[o--] : this.#seldom[s--];
      if (passes(record)) {
        found.push(record);
      }
    }
    return found;
  }

  #opened() {
    this.problem = null;
    this.#pause = FIRST_PAUSE_MS;
    this.#soon();
  }

  #take(record) {
    // What happened before this page was opened is not missed by it.
    const missed = record.kind !== "lost" || this.#seq > 0;
    this.#seq = Math.max(this.#seq, record.seq);
    if (!missed) {
      return;
    }
    const store = OFTEN.has(record.kind) ? this.#often : this.#seldom;
    store.push(record);
    if (store.length > 2 * KEPT) {
      store.splice(0, store.length - KEPT);
    }
    this.#soon();
  }

  /** However many events come, they are shown a few times a second. */
  #soon() {
    this.#due ??= setTimeout(() => {
      this.#due = null;
      this.#onNews();
    }, 250);
  }
}

/** The list of events. */
export class Events {
  #feed;
  #shown = false;
  #groups = new Set(Object.keys(GROUPS));
  #frozenAt = null;

  constructor(feed) {
    this.#feed = feed;
    for (const group of this.#groups) {
      byId("event-groups").append(make("label", {},
        make("input", { type: "checkbox", checked: true, value: group }), group));
    }
    byId("event-filters").addEventListener("submit", (event) => event.preventDefault());
    byId("event-filters").addEventListener("input", () => {
      const boxes = [...byId("event-groups").querySelectorAll("input:checked")];
      this.#groups = new Set(boxes.map((box) => box.value));
      const live = byId("event-live").checked;
      this.#frozenAt = live ? null : (this.#frozenAt ?? this.#newestSeq());
      this.update();
    });
  }

  show() {
    this.#shown = true;
    this.update();
  }

  hide() {
    this.#shown = false;
  }

  update() {
    if (!this.#shown) {
      return;
    }
    const text = byId("event-text").value.trim().toLowerCase();
    const records = this.#feed.newest((record) => this.#groups.has(groupOf(record))
      && (this.#frozenAt === null || record.seq <= this.#frozenAt)
      && (text === "" || `${format.words(record.kind)} ${describe(record)}`.toLowerCase().includes(text)), ROWS);
    this.#list(records);
    byId("event-empty").hidden = records.length > 0;
    say(byId("event-empty"), this.#newestSeq() === null ? "No events yet." : "No event matches the filter.");
    const { problem } = this.#feed;
    say(byId("event-note"), problem === null
      ? `${records.length === ROWS ? `the newest ${ROWS}` : format.count(records.length)} shown, newest first`
      : `no events for now: ${problem.message}`);
  }

  /** Newest first: new rows go on top, those that are shown already stay. */
  #list(records) {
    const list = byId("event-list");
    const wanted = new Set(records.map((record) => String(record.seq)));
    for (const row of [...list.children]) {
      if (!wanted.has(row.dataset.seq)) {
        row.remove();
      }
    }
    let place = list.firstChild;
    for (const record of records) {
      if (place?.dataset.seq === String(record.seq)) {
        place = place.nextSibling;
      } else {
        const row = eventRow(record);
        row.dataset.seq = record.seq;
        list.insertBefore(row, place);
      }
    }
  }

  #newestSeq() {
    return this.#feed.newest(() => true, 1)[0]?.seq ?? null;
  }
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
