// The page: which view is shown, whether the engine answers, and the beat of once a second.

import { get, setToken } from "./api.js";
import { isTrouble } from "./describe.js";
import { byId, complain, repeatedly, say } from "./dom.js";
import { EventFeed, Events } from "./events.js";
import { Flows } from "./flows.js";
import * as format from "./format.js";
import { History } from "./history.js";
import { Names } from "./names.js";
import { Overview } from "./overview.js";
import { Ports } from "./ports.js";

const BEAT_MS = 1000;
const RETRY_MS = 2000;
// Health, version and limits change seldom.
const SELDOM_BEATS = 10;
const TROUBLES = 20;

export const history = new History();
const feed = new EventFeed(() => showNews());
const overview = new Overview(history);
const views = { overview, flows: new Flows(), ports: new Ports(), dns: new Names(), events: new Events(feed) };

let view = null;
let beats = 0;
let health = null;
let version = "";
let answers = false;

const beat = repeatedly(async () => {
  try {
    if (beats % SELDOM_BEATS === 0) {
      await meet();
    }
    const stats = await get("stats");
    history.add(Date.now(), stats);
    overview.stats = stats;
    say(byId("flows-badge"), format.count(stats.flows.active));
    beats += 1;
    connected();
  } catch (problem) {
    disconnected(problem);
  }
  views[view].update();
}, () => (answers ? BEAT_MS : RETRY_MS));

/** Learns who answers. Limits are only shown, and may be missing. */
async function meet() {
  const [now, limits, program] = await Promise.all([get("health"), get("limits").catch(() => null), get("version")]);
  if (health !== null && (health.started !== now.started || health.pid !== now.pid)) {
    history.break();
    feed.forget();
  }
  health = now;
  version = program.version;
  overview.limits = limits;
  say(byId("guest"), health.name);
  document.title = `${health.name} – Portreeve`;
}

function connected() {
  if (!answers) {
    answers = true;
    byId("main").classList.remove("stale");
    byId("banner").hidden = true;
    byId("token-form").hidden = true;
    if (!document.hidden) {
      feed.start();
      views[view].show();
    }
  }
  showState(health.guest ? "ok" : "waiting", health.guest ? "connected" : "no guest on the link");
  const up = format.age((Date.now() - Date.parse(health.started)) / 1000);
  say(byId("engine"), `portreeve ${version} ${health.mode} · process ${health.pid} · up ${up}`);
}

function disconnected(problem) {
  if (answers) {
    history.break();
    feed.stop();
  }
  answers = false;
  // Whoever answers next is asked who it is.
  beats = 0;
  byId("main").classList.add("stale");
  showState("bad", problem.wantsToken ? "token needed" : "disconnected");
  byId("token-form").hidden = !problem.wantsToken;
  if (problem.wantsToken) {
    byId("banner").hidden = true;
  } else {
    complain(byId("banner"), {
      message: `${problem.status === 0 ? "The engine does not answer" : "The engine cannot be asked"}: ${problem.message}`,
      help: problem.help ?? `${problem.status === 0 ? "It may have ended. " : ""}What is shown is what was last known; asked again every ${RETRY_MS / 1000} seconds`,
    });
  }
}

function showState(kind, text) {
  byId("state").className = `state ${kind}`;
  say(byId("state"), text);
}

function showNews() {
  overview.trouble = feed.newest(isTrouble, TROUBLES);
  views.events.update();
}

function showView() {
  const wanted = location.hash.slice(1);
  const next = Object.hasOwn(views, wanted) ? wanted : (view ?? "overview");
  if (next === view) {
    return;
  }
  if (view !== null) {
    views[view].hide();
  }
  view = next;
  for (const name of Object.keys(views)) {
    byId(`view-${name}`).hidden = name !== view;
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === view) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  scrollTo(0, 0);
  views[view].show();
}

addEventListener("hashchange", showView);

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    feed.stop();
    views[view].hide();
  } else {
    if (answers) {
      feed.start();
    }
    views[view].show();
    beat.start();
  }
});

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byId("token").value.trim());
  byId("token").value = "";
  beat.start();
});

showView();
beat.start();
