// Making elements. Names in this program come from a hostile guest: text enters the document as
// text only, here and nowhere else, and never as markup.

// Controls, zero-width characters, line separators, and marks of the writing direction.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/**
 * An element. `properties` are attributes, except `on*`, which are listeners; those that are
 * `null` or `false` are left out. Children are elements, or text as anything else.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value != null && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  const shown = children.filter((child) => child != null);
  element.append(...shown.map((child) => (child instanceof Node ? child : visible(child))));
  return element;
}

/** An element of a drawing. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Sets an element's text, and touches the document only if it differs. */
export function say(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) {
    element.textContent = shown;
  }
}

/** The element with this `id`, which `index.html` has. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Shows what went wrong, in words, in an element that is hidden otherwise.
 * `problem` is an error of `api.js`, or nothing.
 */
export function complain(element, problem) {
  element.hidden = problem == null;
  if (problem != null) {
    const help = problem.help == null ? "" : ` ${sentence(problem.help)}.`;
    element.textContent = visible(`${sentence(problem.message)}.${help}`);
  }
}

/**
 * Keeps the rows of a small table in step with `items`: rows of items that stay keep their place
 * in the document, and with it the keyboard's focus.
 */
export function keepRows(body, items, keyOf, makeRow, fillRow) {
  const old = new Map([...body.children].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const key = String(keyOf(item));
    let row = old.get(key);
    old.delete(key);
    if (row == null) {
      row = makeRow(item);
      row.dataset.key = key;
    }
    fillRow?.(row, item);
    if (body.children[index] !== row) {
      body.insertBefore(row, body.children[index] ?? null);
    }
  });
  for (const row of old.values()) {
    row.remove();
  }
}

/** Calls `repeat` at once and then again and again, each time `pause()` ms after it has ended. */
export function repeatedly(repeat, pause) {
  let timer = null;
  let running = false;
  let stopped = true;
  async function turn() {
    timer = null;
    running = true;
    try {
      await repeat();
    } finally {
      running = false;
      if (timer === null && !stopped) {
        timer = setTimeout(turn, pause());
      }
    }
  }
  return {
    start() {
      stopped = false;
      clearTimeout(timer);
      timer = null;
      if (!running) {
        turn();
      }
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
      timer = null;
    },
  };
}

/** Writes out what has no shape of its own or would turn the text around it the other way. */
function visible(text) {
  return String(text).replace(UNSEEN, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

function sentence(text) {
  const trimmed = text.replace(/\.$/, "");
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
}
