// The table of flows: fetched page by page while it is shown, filtered and sorted here, and drawn
// only where the reader has scrolled to, so that thousands of rows cost what thirty do.

import { get, request } from "./api.js";
import { confirm } from "./confirm.js";
import { byId, complain, make, repeatedly, say } from "./dom.js";
import * as format from "./format.js";

const PAGE = 1000;
const MOST = 20_000;
// After a walk through all pages, at least so long nothing is asked; longer after a long walk.
const PAUSE_MS = 2000;
const PAUSES_PER_WALK = 4;
// Rows drawn above and below what is seen.
const MARGIN = 8;

const byNumber = (value) => (a, b) => value(a) - value(b);
const byText = (value) => (a, b) => collator.compare(value(a) ?? "", value(b) ?? "");
const collator = new Intl.Collator("en", { numeric: true });

// `first` is the order of the first click. Columns without `narrow` are hidden on narrow screens.
const COLUMNS = [
  { key: "protocol", title: "Proto", narrow: true, compare: byText((f) => f.protocol), first: 1 },
  { key: "peer", title: "Peer", narrow: true, compare: byText((f) => f.name ?? f.peer), first: 1 },
  { key: "guest", title: "Guest", compare: byText((f) => f.guest), first: 1 },
  { key: "phase", title: "Phase", compare: byText((f) => f.phase), first: 1 },
  { key: "age", title: "Age", number: true, compare: byNumber((f) => -f.openedAt), first: -1 },
  { key: "rate", title: "Rate", number: true, compare: byNumber((f) => f.rate ?? 0), first: -1 },
  { key: "to", title: "To guest", number: true, narrow: true, compare: byNumber((f) => f.bytes_to_guest), first: -1 },
  { key: "from", title: "From guest", number: true, compare: byNumber((f) => f.bytes_from_guest), first: -1 },
  { key: "kill", title: "Action", narrow: true },
];

export class Flows {
  #flows = [];
  #shown = [];
  #total = 0;
  #walked = null;
  // What the engine was asked to look for in the last walk.
  #searched = "";
  #walkMs = 0;
  #sort = { column: COLUMNS[6], order: -1 };
  #drawn = new Map();
  #scroll = byId("flow-scroll");
  #body = byId("flow-rows");
  #above = spacer();
  #below = spacer();
  #loop = repeatedly(() => this.#fetch(), () => Math.max(PAUSE_MS, PAUSES_PER_WALK * this.#walkMs));

  constructor() {
    byId("flow-head").append(...COLUMNS.map((column) => this.#header(column)));
    this.#body.append(this.#above, this.#below);
    this.#scroll.addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(this.#scroll);
    byId("flow-filters").addEventListener("submit", (event) => event.preventDefault());
    byId("flow-filters").addEventListener("input", (event) => {
      if (event.target.id === "flow-live") {
        this.#follow();
      } else {
        this.#scroll.scrollTop = 0;
        this.#arrange();
        // Where not all flows are here, the engine looks through the rest.
        if (this.#isPartial && event.target.id === "flow-text") {
          this.#follow();
        }
      }
    });
    this.#markSort();
  }

  show() {
    this.#follow();
    this.#arrange();
  }

  hide() {
    this.#loop.stop();
  }

  update() {}

  get #isPartial() {
    return this.#total > MOST;
  }

  #follow() {
    this.#loop.stop();
    if (byId("flow-live").checked) {
      this.#loop.start();
    }
  }

  async #fetch() {
    const began = performance.now();
    try {
      const flows = await this.#walk();
      const now = Date.now();
      const before = new Map(this.#flows.map((flow) => [flow.id, flow]));
      this.#flows = flows.map((flow) => enrich(flow, before.get(flow.id), now));
      this.#walked = now;
      complain(byId("flow-problem"), null);
      this.#arrange();
    } catch (problem) {
      complain(byId("flow-problem"), problem);
    }
    this.#walkMs = performance.now() - began;
  }

  async #walk() {
    const flows = [];
    const query = new URLSearchParams({ limit: PAGE });
    const text = byId("flow-text").value.trim();
    this.#searched = this.#isPartial ? text : "";
    if (this.#searched !== "") {
      query.set("contains", text);
    }
    for (;;) {
      const page = await get(`flows?${query}`);
      flows.push(...page.flows);
      this.#total = page.total;
      if (page.next === undefined || flows.length >= MOST) {
        return flows;
      }
      query.set("after", page.next);
    }
  }

  /** Filters and sorts what was fetched, and draws it. */
  #arrange() {
    const text = byId("flow-text").value.trim().toLowerCase();
    const protocol = byId("flow-protocol").value;
    const origin = byId("flow-origin").value;
    this.#shown = this.#flows.filter((flow) => (protocol === "" || flow.protocol === protocol)
      && (origin === "" || flow.origin === origin) && (text === "" || flow.text.includes(text)));
    const { column, order } = this.#sort;
    this.#shown.sort((a, b) => order * column.compare(a, b));
    this.#tell(text !== "" || protocol !== "" || origin !== "");
    this.#draw();
  }

  #tell(filtered) {
    const match = filtered ? `${format.count(this.#shown.length)} match; ` : "";
    const fetched = format.count(this.#flows.length);
    let all = `${fetched} flows`;
    if (this.#searched !== "") {
      all = `all ${format.count(this.#total)} flows searched for the text`;
    } else if (this.#isPartial) {
      all = `only ${fetched} of ${format.count(this.#total)} flows are here; a filter text searches all of them`;
    }
    say(byId("flow-count"), this.#walked === null ? "" : `${match}${all}, ${format.clock(this.#walked)}`);
    const empty = byId("flow-empty");
    empty.hidden = this.#shown.length > 0 || this.#walked === null;
    say(empty, filtered && this.#total > 0 ? "No flow matches the filter."
      : "There are no flows: nobody is connected to the guest, and the guest to nobody.");
  }

  #draw() {
    const height = this.#rowHeight();
    const head = byId("flow-head").offsetHeight;
    const first = Math.max(0, Math.floor((this.#scroll.scrollTop - head) / height) - MARGIN);
    const seen = Math.ceil(this.#scroll.clientHeight / height) + 2 * MARGIN;
    const window = this.#shown.slice(first, first + seen);
    const drawn = new Map();
    let place = this.#above;
    window.forEach((flow, i) => {
      const row = this.#drawn.get(flow.id) ?? this.#row(flow.id);
      fill(row, flow);
      row.setAttribute("aria-rowindex", first + i + 2);
      drawn.set(flow.id, row);
      // A row that is in its place already keeps the keyboard's focus.
      if (place.nextSibling !== row) {
        place.after(row);
      }
      place = row;
    });
    for (const [id, row] of this.#drawn) {
      if (!drawn.has(id)) {
        this.#discard(row);
      }
    }
    this.#drawn = drawn;
    byId("flow-table").setAttribute("aria-rowcount", this.#shown.length + 1);
    this.#above.firstChild.style.height = `${first * height}px`;
    this.#below.firstChild.style.height = `${Math.max(0, this.#shown.length - first - window.length) * height}px`;
  }

  #discard(row) {
    if (row.contains(document.activeElement)) {
      this.#scroll.focus({ preventScroll: true });
    }
    row.remove();
  }

  #rowHeight() {
    return parseFloat(getComputedStyle(this.#scroll).getPropertyValue("--row")) || 28;
  }

  #row(id) {
    const cells = COLUMNS.map((column) => make("td", { class: classOf(column) }));
    const [, peer] = cells;
    peer.append(make("span", { class: "name" }), make("span", { class: "address" }));
    cells.at(-1).append(make("button", {
      type: "button", class: "small danger", onclick: () => this.#kill(id),
    }, "Kill"));
    return make("tr", {}, ...cells);
  }

  async #kill(id) {
    const flow = this.#flows.find((each) => each.id === id);
    if (flow === undefined) {
      return;
    }
    const killed = await confirm(`Kill flow ${id}?`,
      `${flow.protocol} between guest ${flow.guest} and ${flow.name ?? flow.peer ?? "anywhere"}. Both sides see a reset.`,
      [{ label: "Kill", danger: true, run: () => request("DELETE", `flows/${encodeURIComponent(id)}`) }]);
    if (killed) {
      this.#flows = this.#flows.filter((each) => each.id !== id);
      this.#arrange();
    }
  }

  #header(column) {
    const cell = make("th", { scope: "col", class: classOf(column) });
    if (column.compare === undefined) {
      cell.append(make("span", { class: "unseen" }, column.title));
    } else {
      cell.append(make("button", {
        type: "button",
        onclick: () => {
          const same = this.#sort.column === column;
          this.#sort = { column, order: same ? -this.#sort.order : column.first };
          this.#markSort();
          this.#arrange();
        },
      }, column.title));
    }
    return cell;
  }

  #markSort() {
    COLUMNS.forEach((column, i) => {
      const cell = byId("flow-head").children[i];
      if (this.#sort.column === column) {
        cell.setAttribute("aria-sort", this.#sort.order > 0 ? "ascending" : "descending");
      } else {
        cell.removeAttribute("aria-sort");
      }
    });
  }
}

/** A flow with what is shown, sorted and searched by. */
function enrich(flow, before, now) {
  const peer = format.peer(flow);
  const seconds = before === undefined ? 0 : (now - before.seenAt) / 1000;
  const moved = (f) => f.bytes_to_guest + f.bytes_from_guest;
  return {
    ...flow,
    peer,
    seenAt: now,
    openedAt: Date.parse(flow.opened),
    rate: seconds > 0 ? Math.max(0, moved(flow) - moved(before)) / seconds : null,
    text: [flow.id, flow.protocol, flow.origin, format.words(flow.phase ?? ""), peer, flow.name, flow.guest]
      .join(" ").toLowerCase(),
  };
}

function fill(row, flow) {
  const [protocol, peer, guest, phase, age, rate, to, from, kill] = row.children;
  say(protocol, `${flow.protocol} ${flow.origin === "host" ? "in" : "out"}`);
  say(peer.children[0], flow.name ?? "");
  say(peer.children[1], flow.peer ?? "any");
  peer.title = [flow.name, flow.peer].filter(Boolean).join(" ");
  say(guest, flow.guest);
  say(phase, format.words(flow.phase ?? ""));
  say(age, format.age((flow.seenAt - flow.openedAt) / 1000));
  say(rate, flow.rate === null ? "" : format.byteRate(flow.rate));
  say(to, format.bytes(flow.bytes_to_guest));
  say(from, format.bytes(flow.bytes_from_guest));
  kill.firstChild.setAttribute("aria-label", `Kill flow ${flow.id}`);
}

function classOf(column) {
  return [column.key, column.number && "number", !column.narrow && "roomy"].filter(Boolean).join(" ");
}

/** Stands for the rows that are not drawn. */
function spacer() {
  return make("tr", { class: "spacer", "aria-hidden": "true" }, make("td"));
}
