// What the counters were, once a second for the last hour, and rates from them. Kept in this
// page's memory only: it begins when the page is opened.

const KEPT_MS = 61 * 60_000;
const POINTS = 300;
// With a longer pause between two samples nobody knows what was between them.
const LONGEST_GAP_MS = 90_000;

export class History {
  #samples = [];
  #broken = false;

  /** Notes what the counters are at a time, in milliseconds. */
  add(at, stats) {
    const last = this.#samples.at(-1);
    if (last !== undefined && fellBack(last.stats, stats)) {
      this.#broken = true;
    }
    this.#samples.push({ at, stats: flat(stats), broken: this.#broken });
    this.#broken = false;
    const expired = this.#samples.findIndex((sample) => sample.at >= at - KEPT_MS);
    // Not each time: shifting an array costs its length.
    if (expired > 300) {
      this.#samples.splice(0, expired);
    }
  }

  /** The next sample does not continue the last one: the engine did not answer, or is another. */
  break() {
    this.#broken = true;
  }

  /** When the first sample still kept was taken. */
  get begin() {
    return this.#samples[0]?.at ?? null;
  }

  /** The last `span` milliseconds as one point, or as much of them as nothing has interrupted. */
  latest(span) {
    const last = this.#samples.at(-1);
    let begin = this.#samples.length - 1;
    while (begin > 0 && !this.#samples[begin].broken && this.#samples[begin].at > last.at - span) {
      begin -= 1;
    }
    const group = this.#samples.slice(begin + 1);
    return group.length === 0 ? undefined : new Point(this.#samples[begin], group, false);
  }

  /**
   * The last `span` milliseconds in at most about 300 points, oldest first. Samples of one point
   * share a slot of the clock, so that a point does not change any more once it is complete.
   */
  points(span, now) {
    const width = Math.max(span / POINTS, 1000);
    const slot = (sample) => Math.floor(sample.at / width);
    const first = (slot({ at: now - span })) * width;
    const points = [];
    let before = null;
    let group = [];
    let joined = false;
    const close = () => {
      if (group.length > 0) {
        points.push(new Point(before, group, joined));
        before = group.at(-1);
        group = [];
        joined = true;
      }
    };
    for (const sample of this.#samples) {
      if (group.length > 0 && (sample.broken || slot(sample) !== slot(group[0]))) {
        close();
      }
      const last = group.at(-1) ?? before;
      if (last === null || sample.broken || sample.at < first || sample.at - last.at > LONGEST_GAP_MS) {
        before = sample;
        joined = false;
      } else {
        group.push(sample);
      }
    }
    close();
    return points;
  }
}

/** Some seconds: what happened in them, compared with the sample before. */
class Point {
  #before;
  #last;
  #group;

  constructor(before, group, joined) {
    this.#before = before;
    this.#last = group.at(-1);
    this.#group = group;
    /** When it ends. */
    this.at = this.#last.at;
    /** Whether it continues the point before. */
    this.joined = joined;
  }

  /** How fast a counter rose, per second. */
  rate(key) {
    const seconds = (this.at - this.#before.at) / 1000;
    const risen = (this.#last.stats[key] ?? 0) - (this.#before.stats[key] ?? 0);
    return seconds > 0 ? Math.max(risen, 0) / seconds : 0;
  }

  /** The highest value of a gauge. */
  peak(key) {
    return Math.max(...this.#group.map((sample) => sample.stats[key] ?? 0));
  }

  /** Keys that begin so. */
  keys(prefix) {
    return Object.keys(this.#last.stats).filter((key) => key.startsWith(prefix));
  }
}

/** What is plotted, under short keys; `drop:` goes before a reason. */
function flat(stats) {
  const { traffic, flows, dns, driver } = stats;
  const sample = {
    bytes_to_guest: traffic.bytes_to_guest,
    bytes_from_guest: traffic.bytes_from_guest,
    frames_to_guest: traffic.frames_to_guest,
    frames_from_guest: traffic.frames_from_guest,
    active: flows.active,
    opened: flows.opened,
    refused: flows.refused,
    egress_refused: flows.egress_refused,
    busy: driver.busy_seconds,
  };
  if (dns !== undefined) {
    sample.dns_queries = dns.queries;
    sample.dns_hits = dns.cache_hits;
    sample.dns_failed = dns.failed + dns.overflowed + dns.denied + dns.rejected;
  }
  for (const { reason, count } of stats.drops) {
    sample[`drop:${reason}`] = count;
  }
  return sample;
}

/** Counters never fall: if one did, another engine answers. */
function fellBack(before, stats) {
  return stats.traffic.frames_from_guest < before.frames_from_guest
    || stats.flows.opened < before.opened;
}
