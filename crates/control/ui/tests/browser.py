"""Chromium, driven by its DevTools protocol over a pair of pipes. Standard library only.

Owns the browser's process and its profile; both are gone in the end. The pipes need no port and no
WebSocket: messages are JSON, each ended by a zero byte (`--remote-debugging-pipe`).
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time

DEADLINE = 30.0
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage",
    "--no-proxy-server", "--hide-scrollbars", "--remote-debugging-pipe",
]


def find():
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)


class Browser:
    """One browser with one page."""

    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory(prefix="portreeve-ui-", ignore_cleanup_errors=True)
        to_browser, self.input = os.pipe()
        self.output, from_browser = os.pipe()
        # The browser reads its orders from descriptor 3 and answers on 4.
        command = 'exec "$@" 3<&0 4>&1 0</dev/null 1>&2'
        self.process = subprocess.Popen(
            ["sh", "-c", command, "sh", program, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
            stdin=to_browser, stdout=from_browser, stderr=subprocess.PIPE, start_new_session=True)
        os.close(to_browser)
        os.close(from_browser)
        self.said = []
        self.answers = {}
        self.events = []
        self.news = threading.Condition()
        self.last = 0
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()
        self.session = None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(10)
        except (RuntimeError, TimeoutError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.profile.cleanup()

    def _read(self):
        rest = b""
        while chunk := os.read(self.output, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                with self.news:
                    if "id" in message:
                        self.answers[message["id"]] = message
                    else:
                        self.events.append(message)
                    self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def _listen(self):
        for line in self.process.stderr:
            self.said.append(line.decode(errors="replace"))

    def call(self, method, **parameters):
        """Sends an order and returns its result."""
        self.last += 1
        number = self.last
        message = {"id": number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.input, data):]
        with self.news:
            if not self.news.wait_for(lambda: number in self.answers or self.ended, DEADLINE):
                raise TimeoutError(f"{method}: no answer")
            if number not in self.answers:
                raise RuntimeError("the browser ended: " + "".join(self.said[-20:]))
            answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def run(self, script):
        """The value of an expression, or of the promise it is."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                           returnByValue=True, userGesture=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return result["result"].get("value")

    def until(self, script, what=None, seconds=DEADLINE):
        """Waits until an expression is true, and returns its value."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"never: {what or script}")
            time.sleep(0.05)
        return value

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)

    def scheme(self, name):
        """`light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def click(self, selector):
        """Clicks where a person would: in the middle of what is seen of an element."""
        place = self.until(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            if (element === null || element.disabled) return null;
            element.scrollIntoView({{ block: "nearest" }});
            const box = element.getBoundingClientRect();
            const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
            const top = document.elementFromPoint(x, y);
            return top !== null && (element.contains(top) || top.contains(element)) ? [x, y] : null;
        }})()""", f"{selector} can be clicked")
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def point(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def type(self, selector, text):
        """Replaces the text of a field."""
        self.run(f"(e => {{ e.focus(); e.select(); }})(document.querySelector({json.dumps(selector)}))")
        if text:
            self.call("Input.insertText", text=text)
        else:
            self.key("Delete")

    def key(self, name):
        codes = {"Enter": 13, "Delete": 46, "Escape": 27, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39}
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ["keyDown", "keyUp"]:
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                      windowsVirtualKeyCode=codes[name], **(text if kind == "keyDown" else {}))

    def screenshot(self, path):
        image = self.call("Page.captureScreenshot", format="png")
        with open(path, "wb") as file:
            file.write(base64.b64decode(image["data"]))

    def complaints(self):
        """What the console has said that no good page makes it say, and what the policy forbade.

        That a request of the API failed is said there too; whether it should have is for the page
        to show, and not counted.
        """
        with self.news:
            events = list(self.events)
        complaints = []
        for event in events:
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                complaints.append(details.get("exception", {}).get("description", details["text"]))
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
                complaints.append(str(parameters["args"]))
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                entry = parameters["entry"]
                if entry["source"] != "network" or "/v1/" not in entry.get("url", ""):
                    complaints.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
        return complaints
