// Plots over time, drawn as SVG. Colours are classes of `style.css`, sizes are pixels.
//
// Own code and no library: the data is 300 points a plot, and what is wanted beyond a line is one
// cursor for all plots, values in the legend and values for the keyboard and screen readers.

import { draw, make, say } from "./dom.js";
import { clock, trimmed } from "./format.js";

const HEIGHT = 150;
const LEFT = 58;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;
// Pixels that a label of the time axis needs.
const TIME_LABEL = 52;
const MINUTE = 60_000;

/**
 * One plot. `series(points)` tells what is drawn: `{ label, tone, value(point) }`, where `tone`
 * is the number of a colour; with `stacked`, each lies on the one before.
 */
export class TimeChart {
  #options;
  #plot;
  #legend = make("ul", { class: "legend" });
  #when = make("span", { class: "when" });
  #width = 0;
  #points = [];
  #series = [];
  #from = 0;
  #to = 1;
  #cursor = null;
  #line = draw("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM });

  /** `point(chart, time, byKeyboard)` is called when the reader points at a time, or away: null. */
  constructor(options, point) {
    const onCursor = (time, byKeyboard) => point(this, time, byKeyboard);
    this.#options = { least: 1, stacked: false, ...options };
    this.#plot = make("div", { class: "plot", tabindex: "0", role: "img" });
    const title = make("h3", {}, options.title, " ", make("span", { class: "unit" }, options.unit));
    this.element = make("figure", { class: "chart" },
      make("figcaption", {}, title, this.#when), this.#plot, this.#legend);
    new ResizeObserver(([entry]) => {
      this.#width = Math.round(entry.contentRect.width);
      this.#render();
    }).observe(this.#plot);
    this.#plot.addEventListener("pointermove", (event) => {
      const x = event.clientX - this.#plot.getBoundingClientRect().left;
      onCursor(this.#nearest(this.#time(x))?.at ?? null, false);
    });
    this.#plot.addEventListener("pointerleave", () => onCursor(null, false));
    this.#plot.addEventListener("blur", () => onCursor(null, false));
    this.#plot.addEventListener("keydown", (event) => this.#key(event, onCursor));
  }

  /** Shows these points of a `History` between two times. */
  show(points, from, to) {
    this.#points = points;
    this.#from = from;
    this.#to = to;
    this.#series = this.#options.series(points);
    this.#render();
  }

  /** Marks a time, null for none, and shows the values there. */
  mark(time) {
    this.#cursor = time;
    this.#markCursor();
  }

  /** The values at the mark in words. */
  get spoken() {
    const point = this.#marked();
    const values = this.#series.map((s) => `${s.label} ${this.#options.format(s.value(point))}`);
    return `${this.#options.title}, ${clock(point.at)}: ${values.join(", ")}`;
  }

  #render() {
    const width = this.#width;
    if (width < LEFT + RIGHT + 20) {
      return;
    }
    const curves = this.#curves();
    const highest = Math.max(0, ...curves.flatMap((curve) => curve.tops));
    const scale = niceScale(highest, this.#options.least);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / scale.top);
    const svg = draw("svg", { width, height: HEIGHT, "aria-hidden": "true" },
      ...this.#valueAxis(scale, y), ...this.#timeAxis());
    // The first series is drawn last: it is the one asked for most.
    for (const curve of curves.reverse()) {
      svg.append(...this.#curve(curve, y));
    }
    svg.append(this.#line);
    this.#plot.replaceChildren(svg);
    if (this.#points.length === 0) {
      this.#plot.append(make("p", { class: "empty" }, "Nothing measured in this time yet"));
    }
    this.#describe(highest);
    this.#markCursor();
  }

  /** For each series its upper and lower edge at each point. */
  #curves() {
    let below = this.#points.map(() => 0);
    return this.#series.map((series) => {
      const floors = below;
      const tops = this.#points.map((point, i) => floors[i] + series.value(point));
      if (this.#options.stacked) {
        below = tops;
      }
      return { tone: series.tone, floors, tops };
    });
  }

  #curve({ tone, floors, tops }, y) {
    let line = "";
    let area = "";
    for (const [begin, end] of runs(this.#points)) {
      const indices = range(begin, end);
      const at = (values) => (i) => `${this.#x(this.#points[i].at)} ${y(values[i]).toFixed(1)}`;
      const upper = indices.map(at(tops)).join("L");
      // A single point is a dot: the line has round ends.
      line += `M${upper}h.01`;
      area += `M${upper}L${indices.reverse().map(at(floors)).join("L")}Z`;
    }
    const kind = this.#options.stacked ? "stacked" : "lines";
    return [draw("path", { class: `area ${kind} tone${tone}`, d: area }),
      draw("path", { class: `line ${kind} tone${tone}`, d: line })];
  }

  #valueAxis(scale, y) {
    return scale.ticks.flatMap((value) => [
      draw("line", { class: value === 0 ? "base" : "grid", x1: LEFT, x2: this.#width - RIGHT,
        y1: y(value), y2: y(value) }),
      draw("text", { class: "value", x: LEFT - 6, y: y(value) + 4 }, this.#tick(value)),
    ]);
  }

  #timeAxis() {
    const room = (this.#width - LEFT - RIGHT) / TIME_LABEL;
    const minutes = (this.#to - this.#from) / MINUTE;
    const step = [1, 2, 5, 10, 15, 30].find((each) => minutes / each <= room) ?? 60;
    const ticks = [];
    const first = Math.ceil(this.#from / (step * MINUTE)) * step * MINUTE;
    for (let at = first; at <= this.#to; at += step * MINUTE) {
      const x = this.#x(at);
      ticks.push(draw("line", { class: "grid", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
      if (x > LEFT + 14 && x < this.#width - 16) {
        ticks.push(draw("text", { class: "time", x, y: HEIGHT - 5 }, clock(at, false)));
      }
    }
    return ticks;
  }

  #markCursor() {
    const point = this.#marked();
    const marked = this.#cursor !== null && point !== undefined;
    this.#line.setAttribute("visibility", marked ? "visible" : "hidden");
    say(this.#when, marked ? clock(point.at) : "");
    if (marked) {
      this.#line.setAttribute("x1", this.#x(point.at));
      this.#line.setAttribute("x2", this.#x(point.at));
    }
    while (this.#legend.children.length > this.#series.length) {
      this.#legend.lastChild.remove();
    }
    this.#series.forEach((series, i) => {
      const entry = this.#legend.children[i] ?? this.#legend.appendChild(legendEntry());
      entry.className = `tone${series.tone}`;
      say(entry.children[0], series.label);
      say(entry.children[1], point === undefined ? "" : this.#options.format(series.value(point)));
    });
  }

  /** The point at the cursor, or the last one. */
  #marked() {
    return this.#cursor === null ? this.#points.at(-1) : this.#nearest(this.#cursor);
  }

  #describe(highest) {
    const now = this.#points.at(-1);
    const values = now === undefined ? [] : this.#series.map((s) =>
      `${s.label} ${this.#options.format(s.value(now))}`);
    const said = values.length === 0 ? "nothing measured yet"
      : `now ${values.join(", ")}; highest ${this.#options.format(highest)}`;
    this.#plot.setAttribute("aria-label", `Plot of ${this.#options.title}: ${said}. `
      + "Arrow keys move through time.");
  }

  #key(event, onCursor) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30 }[event.key];
    if (event.key === "Escape") {
      onCursor(null, true);
    } else if (step !== undefined && this.#points.length > 0) {
      event.preventDefault();
      const last = this.#points.length - 1;
      const here = this.#cursor === null ? last + (step < 0 ? 1 : 0)
        : this.#points.indexOf(this.#marked());
      onCursor(this.#points[Math.min(Math.max(here + step, 0), last)].at, true);
    }
  }

  #nearest(time) {
    return this.#points.reduce((best, point) =>
      (best === undefined || Math.abs(point.at - time) < Math.abs(best.at - time) ? point : best),
    undefined);
  }

  #x(time) {
    const share = (time - this.#from) / (this.#to - this.#from);
    return Math.round((LEFT + (this.#width - LEFT - RIGHT) * share) * 10) / 10;
  }

  #time(x) {
    return this.#from + (this.#to - this.#from) * (x - LEFT) / (this.#width - LEFT - RIGHT);
  }

  #tick(value) {
    return value === 0 ? "0" : trimmed(this.#options.format(value)).replace(/\/s$/, "");
  }
}

function legendEntry() {
  return make("li", {}, make("span", { class: "label" }), make("span", { class: "number" }));
}

/** Steps of 1, 2 or 5 and powers of ten that reach above the highest value, in 2 to 5 steps. */
function niceScale(highest, least) {
  const wanted = Math.max(highest, least);
  const power = 10 ** Math.floor(Math.log10(wanted / 4));
  const step = [1, 2, 5, 10].map((n) => n * power).find((s) => wanted / s <= 4);
  const steps = Math.ceil(wanted / step - 1e-9);
  return { top: steps * step, ticks: range(0, steps + 1).map((i) => i * step) };
}

/** From which point to which, exclusive, the line is whole. */
function runs(points) {
  const begins = points.flatMap((point, i) => (i === 0 || !point.joined ? [i] : []));
  return begins.map((begin, i) => [begin, begins[i + 1] ?? points.length]);
}

function range(begin, end) {
  return Array.from({ length: end - begin }, (_, i) => begin + i);
}
