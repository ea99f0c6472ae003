// Asking before something is ended that cannot be brought back.

import { byId, complain, make, say } from "./dom.js";

/**
 * Asks, and does what is chosen. `choices` are `{ label, run, danger }`; the dialog closes when
 * `run` has succeeded, and shows the problem when it has not. Resolves to whether something was
 * done.
 */
export function confirm(title, text, choices) {
  const dialog = byId("confirm");
  const back = document.activeElement;
  say(byId("confirm-title"), title);
  say(byId("confirm-text"), text);
  complain(byId("confirm-problem"), null);
  return new Promise((resolve) => {
    let done = false;
    const buttons = choices.map(({ label, run, danger }) => make("button", {
      type: "button",
      class: danger ? "danger" : "primary",
      async onclick(event) {
        event.target.disabled = true;
        try {
          await run();
          done = true;
          dialog.close();
        } catch (problem) {
          complain(byId("confirm-problem"), problem);
          event.target.disabled = false;
        }
      },
    }, label));
    const cancel = make("button", { type: "submit", autofocus: true }, "Cancel");
    byId("confirm-buttons").replaceChildren(cancel, ...buttons);
    dialog.addEventListener("close", () => {
      if (back?.isConnected) {
        back.focus();
      }
      resolve(done);
    }, { once: true });
    dialog.showModal();
  });
}
