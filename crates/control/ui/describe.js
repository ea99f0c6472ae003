// Events in words. Kinds that this page does not know are shown as they came.

import { make } from "./dom.js";
import * as format from "./format.js";

/** Groups that can be switched on and off, and their kinds. Unknown kinds are in the last. */
export const GROUPS = {
  Flows: ["flow_opened", "flow_closed"],
  Refusals: ["flow_refused", "egress_refused", "limit_reached"],
  Drops: ["dropped"],
  Ports: ["published", "unpublished", "listener_paused", "listener_resumed"],
  Names: ["dns_answered", "dns_denied", "dns_rebind_blocked", "dns_upstream"],
  "Guest and host": [],
};

const TROUBLE = new Set(["flow_refused", "egress_refused", "limit_reached", "dropped",
  "listener_paused", "dns_denied", "dns_rebind_blocked", "link_down", "echo_forbidden", "lost"]);

/** Whether an event tells of something that did not work. */
export function isTrouble(record) {
  return TROUBLE.has(record.kind)
    || (record.kind === "dns_upstream" && !["up", "changes_case"].includes(record.state));
}

/** The group of an event. */
export function groupOf(record) {
  const found = Object.entries(GROUPS).find(([, kinds]) => kinds.includes(record.kind));
  return found?.[0] ?? "Guest and host";
}

/** An event as a row of a list. */
export function eventRow(record) {
  return make("li", { class: isTrouble(record) ? "trouble" : "" },
    make("time", { datetime: record.time }, format.clock(Date.parse(record.time))),
    make("span", { class: "kind" }, format.words(record.kind)),
    make("span", { class: "what" }, describe(record)));
}

/** What happened, in a line of text. */
export function describe(record) {
  const tell = TELL[record.kind];
  if (tell !== undefined) {
    try {
      return tell(record);
    } catch {
      // A member is missing: another version of the API. Shown as it came.
    }
  }
  const { seq, time, kind, ...rest } = record;
  return Object.keys(rest).length === 0 ? format.words(kind) : JSON.stringify(rest);
}

/** From where to where, by name where one is known. */
function route(flow) {
  const way = flow.origin === "host"
    ? `${flow.client ?? "a client"} → guest ${flow.guest}`
    : `guest ${flow.guest} → ${named(flow.name, format.peer(flow))}`;
  return `${flow.protocol} ${way}`;
}

function named(name, address) {
  if (name === undefined) {
    return address ?? "anywhere";
  }
  return address === undefined ? name : `${name} (${address})`;
}

const port = (id) => (id === undefined ? "" : ` of port ${id}`);
const times = (count) => (count === 1 ? "once" : `${format.count(count)} times`);

const TELL = {
  flow_opened: ({ flow }) => route(flow),
  flow_closed: ({ flow, reason, duration_us: us }) => `${route(flow)}: ${format.words(reason)} after `
    + `${format.duration(us / 1e6)}, ${format.bytes(flow.bytes_to_guest)} to guest, `
    + `${format.bytes(flow.bytes_from_guest)} from guest`,
  flow_refused: (e) => `${e.client ?? "a client"}${port(e.port)}: ${format.words(e.reason)}`,
  egress_refused: (e) => `${e.protocol} guest ${e.guest} → ${named(e.name, format.endpoint(e.destination))}: ${format.words(e.reason)}`,
  limit_reached: (e) => `${e.limit}${port(e.port)}, ${times(e.count)}`,
  dropped: (e) => `${format.words(e.reason)}, ${times(e.count)}`,
  published: (e) => format.published(e.port),
  unpublished: (e) => format.published(e.port),
  listener_paused: (e) => `port ${e.port}: ${e.cause}`,
  listener_resumed: (e) => `port ${e.port} takes clients again`,
  dns_answered: (e) => `${e.name} ${e.type}: ${e.rcode} ${e.addresses.join(", ")} `
    + `from ${e.source} in ${format.duration(e.latency_us / 1e6)}`,
  dns_denied: (e) => `${e.name} ${e.type}`,
  dns_rebind_blocked: (e) => `${e.name} may not be ${e.address}, as ${e.server} says`,
  dns_upstream: (e) => `${e.server} ${format.words(e.state)}`,
  lease: (e) => `${e.protocol}: ${e.address} ${e.change}`,
  guest_seen: (e) => `the guest is ${e.mac}`,
  link_up: () => "a guest came",
  link_down: (e) => `the guest is gone${e.for_good ? " for good" : ""}: ${e.cause}`,
  host_network: (e) => `addresses ${e.addresses.join(", ") || "none"}; name servers ${e.name_servers.join(", ") || "none"}`,
  echo_forbidden: (e) => e.cause,
  reconfigured: (e) => e.settings.join(", "),
  lost: (e) => `${format.count(e.count)} events were missed here`,
};
