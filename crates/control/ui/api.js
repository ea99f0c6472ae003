// The engine's API: requests, its problems (RFC 9457), and the stream of events.
//
// Where the API is reached over TCP it asks for a token. The token comes in the page's address,
// is moved out of it into this tab's session storage, and is sent as `Authorization: Bearer`.

const ROOT = new URL("../v1/", document.baseURI);
const STORED = "portreeve-token";
const TIMEOUT_MS = 10_000;
// A line of the event stream is far shorter; more than this is no event stream.
const LONGEST_LINE = 1 << 20;

let token = takeToken();

/** Why a request failed. `status` is 0 where nobody answered. */
export class ApiError extends Error {
  constructor(status, message, help = null) {
    super(message);
    this.status = status;
    this.help = help;
  }

  /** Whether a token is missing or wrong. */
  get wantsToken() {
    return this.status === 401;
  }
}

/** Sends a request; `body` is sent as JSON. Resolves to the answer's JSON, or null if it has none. */
export async function request(method, path, body) {
  const response = await ask(method, path, body, AbortSignal.timeout(TIMEOUT_MS));
  try {
    return response.status === 204 ? null : await response.json();
  } catch (cause) {
    throw new ApiError(0, `the answer to ${method} ${path} broke off (${cause.message})`);
  }
}

export const get = (path) => request("GET", path);

/**
 * Follows a stream of JSON lines until it ends. `onOpen` is called once the server has agreed.
 * Throws if it does not, or if the stream breaks.
 */
export async function stream(path, signal, onOpen, onLine) {
  const response = await ask("GET", path, undefined, signal);
  onOpen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    if (rest.length > LONGEST_LINE) {
      throw new ApiError(0, "a line of the event stream has no end");
    }
    for (const line of lines) {
      if (line !== "") {
        onLine(JSON.parse(line));
      }
    }
  }
}

/** Uses another token from now on. */
export function setToken(value) {
  token = value;
  try {
    sessionStorage.setItem(STORED, value);
  } catch {
    // Storage is switched off: the token lives as long as this page.
  }
}

async function ask(method, path, body, signal) {
  const headers = { Accept: "application/json" };
  if (token !== null) {
    headers.Authorization = `Bearer ${token}`;
  }
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(new URL(path, ROOT), {
      method, headers, signal, cache: "no-store", credentials: "omit",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (cause) {
    const why = cause.name === "TimeoutError"
      ? `no answer within ${TIMEOUT_MS / 1000} s` : "the connection failed";
    throw new ApiError(0, why);
  }
  if (!response.ok) {
    throw await problemOf(response);
  }
  return response;
}

async function problemOf(response) {
  const plain = `HTTP status ${response.status}`;
  try {
    const problem = await response.json();
    return new ApiError(response.status, problem.detail ?? problem.title ?? plain, problem.help);
  } catch {
    return new ApiError(response.status, plain);
  }
}

function takeToken() {
  const url = new URL(location.href);
  const given = url.searchParams.get("token");
  try {
    if (given === null) {
      return sessionStorage.getItem(STORED);
    }
    sessionStorage.setItem(STORED, given);
  } catch {
    // As above.
  }
  if (given !== null) {
    url.searchParams.delete("token");
    history.replaceState(history.state, "", url);
  }
  return given;
}
