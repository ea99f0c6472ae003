// Published ports: the table, publishing and unpublishing.

import { get, request } from "./api.js";
import { confirm } from "./confirm.js";
import { byId, complain, keepRows, make, repeatedly, say } from "./dom.js";
import * as format from "./format.js";

const PAUSE_MS = 1000;

export class Ports {
  #loop = repeatedly(() => this.#fetch(), () => PAUSE_MS);

  constructor() {
    byId("publish").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#publish(event.submitter);
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
      const { ports } = await get("ports");
      complain(byId("port-problem"), null);
      byId("port-empty").hidden = ports.length > 0;
      keepRows(byId("port-rows"), ports, (port) => port.id, (port) => this.#row(port), fill);
    } catch (problem) {
      complain(byId("port-problem"), problem);
    }
  }

  async #publish(button) {
    const input = byId("spec");
    button.disabled = true;
    say(byId("publish-done"), "");
    try {
      const { ports } = await request("POST", "ports", { spec: input.value.trim() });
      complain(byId("publish-problem"), null);
      input.removeAttribute("aria-invalid");
      input.value = "";
      say(byId("publish-done"), `Published ${ports.map(format.published).join(" and ")}.`);
    } catch (problem) {
      complain(byId("publish-problem"), problem);
      input.setAttribute("aria-invalid", "true");
      input.focus();
    }
    button.disabled = false;
    this.#loop.start();
  }

  async #unpublish(port) {
    const remove = (connections) => () => request("DELETE", `ports/${port.id}?connections=${connections}`);
    await confirm(`Unpublish ${format.published(port)}?`,
      "No new client is taken from now on. Connections it has may go on until they end, or be reset.", [
        { label: "Let connections end", run: remove("drain") },
        { label: "Reset connections", danger: true, run: remove("reset") },
      ]);
    this.#loop.start();
  }

  #row(port) {
    const numbers = ["Flows", "Opened", "Refused", "To guest", "From guest"];
    return make("tr", {},
      make("th", { scope: "row" }),
      make("td", { class: "address", "data-label": "Host" }, format.hostEndpoint(port.host)),
      make("td", { "data-label": "State" }),
      make("td", { "data-label": "Source" }, port.source),
      ...numbers.map((label) => make("td", { class: "number", "data-label": label })),
      make("td", { class: "kill" }, make("button", {
        type: "button",
        class: "small danger",
        "aria-label": `Unpublish ${format.published(port)}`,
        onclick: () => this.#unpublish(port),
      }, "Unpublish")));
  }
}

function fill(row, port) {
  const [guest, , state, , ...cells] = row.children;
  const { counters } = port;
  say(guest, `${port.guest_port}/${port.transport}${port.name === undefined ? "" : ` ${port.name}`}`);
  say(state, port.cause === undefined ? port.state : `${port.state}: ${port.cause}`);
  state.className = `state-${port.state}`;
  const values = [format.count(counters.flows), format.count(counters.opened), format.count(counters.refused),
    format.bytes(counters.bytes_to_guest), format.bytes(counters.bytes_from_guest)];
  values.forEach((value, i) => say(cells[i], value));
  cells.at(-1).firstChild.disabled = port.state === "draining";
}
