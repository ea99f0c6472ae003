// Numbers, times and addresses in words. Units are decimal: 1 kB is 1000 bytes.

// Between a number and its unit, so that a line never breaks there.
const GAP = "\u202f";
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const NONE = "–";

/** `5,000` */
export function count(value) {
  return whole.format(value);
}

/** `1.23 MB` */
export function bytes(value) {
  let size = value;
  let unit = 0;
  while (size >= 999.5 && unit < UNITS.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(size) : significant(size)}${GAP}${UNITS[unit]}`;
}

/** `1.23 MB/s` */
export function byteRate(value) {
  return `${bytes(value)}/s`;
}

/** `12.3/s` */
export function rate(value) {
  return `${value >= 1000 ? count(value) : significant(value)}/s`;
}

/** `7.5 %` of a share between 0 and 1. */
export function percent(share) {
  return `${significant(share * 100)}${GAP}%`;
}

/** Seconds: `850 µs`, `12.5 ms`, `42 s`, `3 h 02 min`. */
export function duration(seconds) {
  if (seconds < 0.001) {
    return `${significant(seconds * 1e6)}${GAP}µs`;
  }
  if (seconds < 1) {
    return `${significant(seconds * 1000)}${GAP}ms`;
  }
  if (seconds < 10) {
    return `${seconds.toFixed(1)}${GAP}s`;
  }
  return age(seconds);
}

/** Whole seconds, the two largest units. */
export function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (large, largeUnit, small, smallUnit) =>
    `${large}${GAP}${largeUnit} ${String(small).padStart(2, "0")}${GAP}${smallUnit}`;
  if (s < 60) return `${s}${GAP}s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86_400) return two(Math.floor(s / 3600), "h", Math.floor(s / 60) % 60, "min");
  return two(Math.floor(s / 86_400), "d", Math.floor(s / 3600) % 24, "h");
}

/** The time of the day, in the reader's time zone. */
export function clock(milliseconds, withSeconds = true) {
  const time = new Date(milliseconds);
  const two = (n) => String(n).padStart(2, "0");
  const minutes = `${two(time.getHours())}:${two(time.getMinutes())}`;
  return withSeconds ? `${minutes}:${two(time.getSeconds())}` : minutes;
}

/** A name of the API as words: `guest_reset` is `guest reset`. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}

/** Where the host listens (`HostEndpoint`). */
export function hostEndpoint(host) {
  return host.inet ?? (host.unix !== undefined ? `unix:${host.unix}` : `descriptor ${host.fd}`);
}

/** `80/tcp → 127.0.0.1:8080` */
export function published(port) {
  return `${port.guest_port}/${port.transport} → ${hostEndpoint(port.host)}`;
}

/** Who is at the host's side of a flow: its client, or where the guest went. */
export function peer(flow) {
  const address = flow.origin === "host" ? flow.client : (flow.target ?? flow.remote);
  return address === undefined ? undefined : endpoint(address);
}

/** An address and port as the API writes it; without the port where there is none, as for an echo. */
export function endpoint(address) {
  return address.replace(/^\[?([^\]]*)\]?:0$/, "$1");
}

/** The same number without zeros at its end. */
export function trimmed(text) {
  return text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

/** The time below which a share of a histogram's observations lie, in words. */
export function quantile(histogram, share) {
  if (histogram.count === 0) {
    return NONE;
  }
  const bucket = histogram.buckets.find((b) => b.count >= share * histogram.count);
  return bucket === undefined
    ? `> ${trimmed(duration(histogram.buckets.at(-1)?.le ?? 0))}` : `≤ ${trimmed(duration(bucket.le))}`;
}

function significant(value) {
  if (value === 0) return "0";
  if (value < 0.01) return "<0.01";
  if (value < 9.995) return value.toFixed(2);
  if (value < 99.95) return value.toFixed(1);
  return value.toFixed(0);
}
