#!/usr/bin/env python3
"""The web page in a real browser.

    page_test.py                          against the stand-in, which it starts: everything
    page_test.py --url URL --flow TEXT    against an engine: what works with any engine

With `--url`, TEXT finds one flow among the engine's, which is killed. The exit status is 0 when
all went well, 1 when something did not, 77 when there is no browser to test with.
"""

import argparse
import contextlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import browser  # noqa: E402

HERE = Path(__file__).resolve().parent
VIEWS = ["overview", "flows", "ports", "dns", "events"]
WIDTHS = [360, 800, 1600]
NO_BROWSER = 77
# Seconds for everything; a single wait has its own bound.
OVERALL = 240


def text(page, selector):
    return page.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")


def says(page, selector, pattern):
    """Waits until an element that is seen matches a pattern; what it says then."""
    shown = f"""(e => e !== null && e.checkVisibility() && new RegExp({json.dumps(pattern)}, "s").test(e.textContent)
        && e.textContent)(document.querySelector({json.dumps(selector)}))"""
    try:
        return page.until(shown)
    except TimeoutError:
        raise AssertionError(f"{selector} says {text(page, selector)!r}, not {pattern!r}") from None


def rows(page, selector):
    return page.run(f"[...document.querySelectorAll({json.dumps(selector + ' > *')})].map(e => e.textContent)")


def goes_to(page, view):
    page.click(f'nav a[href="#{view}"]')
    page.until(f"!document.getElementById('view-{view}').hidden")


def has_row(page, selector, wanted, there=True):
    found = f"[...document.querySelector({json.dumps(selector)}).children].some(e => e.textContent.includes({json.dumps(wanted)}))"
    page.until(f"({found}) === {json.dumps(there)}", f"{wanted!r} in {selector}: {there}; {rows(page, selector)[:20]}")


# What works with any engine.

def connects(page, url):
    page.size(1400, 900)
    page.open(url)
    says(page, "#state", "^connected$")
    assert "token" not in page.run("location.href"), "the token stays in the address"
    says(page, "#engine", r"^portreeve \S+ .* process \d+")


def plots(page):
    goes_to(page, "overview")
    assert page.run("document.querySelectorAll('.chart').length") == 6
    says(page, ".chart .legend", r"to guest[\d.]+.[kMG]?B/s")
    page.until("document.querySelector('.chart path.line')?.getAttribute('d').length > 30", "a line is drawn")
    box = page.run("(b => [b.x, b.y, b.width])(document.querySelector('.plot').getBoundingClientRect())")
    page.point(box[0] + box[2] - 14, box[1] + 60)
    says(page, ".chart .when", r"^\d\d:\d\d:\d\d$")
    page.point(1, 1)
    says(page, "#since", "Measured since")
    page.run("document.querySelector('.plot').focus()")
    page.key("ArrowLeft")
    says(page, "#spoken", r"Throughput, \d\d:\d\d:\d\d: to guest")
    page.key("Escape")
    page.click('#span input[value="60"]')
    page.click('#span input[value="5"]')


def measures(page):
    """Rates from counters, with numbers that can be checked by heart."""
    found = page.run("""(async () => {
        const { History } = await import("./history.js");
        const begin = 1_800_000_000_000;
        const stats = (n) => ({
            traffic: { bytes_to_guest: 0, bytes_from_guest: 0, frames_to_guest: 0, frames_from_guest: n },
            flows: { active: n % 10, opened: 3 * n, refused: 0, egress_refused: 0 },
            drops: n < 50 ? [] : [{ reason: "r", count: 2 * (n - 49) }],
            driver: { busy_seconds: 0 },
        });
        const history = new History();
        const add = (second, n) => history.add(begin + 1000 * second, stats(n));
        const points = (minutes, second) => history.points(60_000 * minutes, begin + 1000 * second);
        for (let n = 0; n <= 120; n += 1) add(n, n);
        const whole = points(5, 120);
        const hour = points(60, 120);
        const latest = history.latest(5000);
        add(121, 5);
        const fallen = points(5, 121).length;
        add(122, 6);
        history.break();
        add(123, 7);
        add(124, 8);
        add(300, 9);
        add(301, 10);
        const ends = points(5, 301);
        return {
            opened: [...new Set(whole.map((p) => p.rate("opened")))],
            drops: whole.map((p) => p.rate("drop:r")).filter((rate) => rate > 0).length,
            begins: whole.map((p) => p.joined).lastIndexOf(false),
            hour: [hour.length, ...new Set(hour.map((p) => p.rate("opened")))],
            peak: Math.max(...hour.map((p) => p.peak("active"))),
            latest: [latest.rate("opened"), latest.peak("active")],
            fallen: fallen - whole.length,
            after: ends.slice(-3).map((p) => [(p.at - begin) / 1000, p.rate("opened"), p.joined]),
        };
    })()""".replace("./history.js", page.run("new URL('history.js', document.baseURI).href")))
    assert found == {
        "opened": [3], "drops": 71, "begins": 0, "hour": [11, 3], "peak": 9, "latest": [3, 9],
        "fallen": 0, "after": [[122, 3, False], [124, 3, False], [301, 3, False]],
    }, found


def writes_numbers(page):
    found = page.run("""(async () => {
        const f = await import(new URL("format.js", document.baseURI).href);
        return [f.bytes(0), f.bytes(999), f.bytes(999_600), f.byteRate(1_234_567), f.rate(0.5), f.rate(12_345),
            f.duration(0.0000005), f.duration(0.0425), f.duration(7.25), f.age(59.9), f.age(3661), f.age(90_000),
            f.percent(0.075), f.endpoint("[fd00::1]:0"), f.endpoint("10.0.0.1:0"), f.endpoint("[::1]:80"),
            f.trimmed("20.0 MB"), f.trimmed("1.50 kB"), f.trimmed("100 B"), f.hostEndpoint({ fd: 3 })];
    })()""")
    found = [each.replace("\u202f", " ") for each in found]
    assert found == [
        "0 B", "999 B", "1.00 MB", "1.23 MB/s", "0.50/s", "12,345/s", "0.50 µs", "42.5 ms", "7.3 s", "59 s",
        "1 h 01 min", "1 d 01 h", "7.50 %", "fd00::1", "10.0.0.1", "[::1]:80", "20 MB", "1.5 kB", "100 B",
        "descriptor 3"], found


def publishes(page):
    goes_to(page, "ports")
    page.type("#spec", "0:4242")
    page.key("Enter")
    done = says(page, "#publish-done", r"^Published 4242/tcp → ")
    at = re.findall(r"4242/tcp → (\S+?:\d+)(?= and|\.$)", done)
    assert at, done
    for address in at:
        has_row(page, "#port-rows", address)
    # What is taken already is refused, in the engine's words, and what is no port too.
    host_port = at[0].rpartition(":")[2]
    page.type("#spec", f"{host_port}:4243")
    page.click("#publish button")
    taken = says(page, "#publish-problem", host_port)
    page.type("#spec", "nonsense")
    page.click("#publish button")
    says(page, "#publish-problem", f"^(?!{re.escape(taken)}$).*\\w")
    page.type("#spec", "")
    for address, choice in zip(at, ["Let connections end", "Reset connections"]):
        label = f"Unpublish 4242/tcp → {address}"
        page.click(f'button[aria-label="{label}"]')
        says(page, "#confirm-title", re.escape(address))
        button = page.run(f"[...document.querySelectorAll('#confirm-buttons button')].findIndex(b => b.textContent === '{choice}') + 1")
        page.click(f"#confirm-buttons button:nth-child({button})")
        page.until("!document.getElementById('confirm').open", "the dialog closes")
        has_row(page, "#port-rows", address, there=False)


def tells_events(page):
    goes_to(page, "events")
    page.type("#event-text", "4242/tcp")
    for kind in ["published", "unpublished"]:
        page.until(f"[...document.querySelectorAll('#event-list .kind')].some(e => e.textContent === '{kind}')")
    page.type("#event-text", "no such words in any event")
    says(page, "#event-empty", "No event matches")
    page.type("#event-text", "")


def kills(page, flow):
    goes_to(page, "flows")
    says(page, "#flow-count", r"^[\d,]+ flows")
    page.type("#flow-text", "no such flow")
    says(page, "#flow-empty", "No flow matches")
    page.type("#flow-text", flow)
    page.until("document.querySelectorAll('#flow-rows button').length > 0", f"a flow with {flow}")
    kill = page.run("document.querySelector('#flow-rows button').getAttribute('aria-label')")
    # Escape changes one's mind.
    page.click(f'#flow-rows button[aria-label="{kill}"]')
    says(page, "#confirm-title", re.escape(kill))
    page.key("Escape")
    page.until("!document.getElementById('confirm').open", "Escape closes the dialog")
    assert page.run("document.activeElement.getAttribute('aria-label')") == kill, "the focus comes back"
    page.click(f'#flow-rows button[aria-label="{kill}"]')
    page.click("#confirm-buttons .danger")
    page.until("!document.getElementById('confirm').open", "the flow is killed")
    page.until(f"document.querySelector('[aria-label=\"{kill}\"]') === null", "it is gone")
    page.type("#flow-text", "")
    goes_to(page, "events")
    page.type("#event-text", "killed")
    has_row(page, "#event-list", "flow closed")
    page.type("#event-text", "")


def names(page):
    goes_to(page, "dns")
    says(page, "#dns-gauges", "Queries of the guest")
    page.type("#record-name", "page-test.internal")
    page.type("#record-addresses", "10.9.8.7, fd00::9")
    page.click("#record button")
    has_row(page, "#records", "page-test.internal10.9.8.7, fd00::9")
    page.type("#record-name", "page-test.internal")
    page.type("#record-addresses", "not-an-address")
    page.click("#record button")
    says(page, "#record-problem", r"\w")
    page.click('#records button[aria-label="Remove page-test.internal"]')
    has_row(page, "#records", "page-test.internal", there=False)
    says(page, "#cache-title", "Cache")


def fits(page):
    for width in WIDTHS:
        page.size(width, 800)
        for view in VIEWS:
            goes_to(page, view)
            page.until("document.documentElement.scrollWidth <= innerWidth", f"{view} fits into {width} px", 5)
    page.size(1400, 900)


def is_clean(page):
    assert page.complaints() == [], page.complaints()


# What only the stand-in has.

@contextlib.contextmanager
def mock(*options):
    process = subprocess.Popen([sys.executable, HERE / "mock_api.py", *options], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def hostile(page):
    goes_to(page, "flows")
    page.type("#flow-text", "<img src=x")
    says(page, "#flow-rows", "<img src=x onerror=document.title='owned'>")
    page.type("#flow-text", "gnp.elif")
    assert "\\u{202e}gnp.elif\\u{202c}" in says(page, "#flow-rows", "gnp.elif")
    page.type("#flow-text", "")
    goes_to(page, "events")
    page.type("#event-text", "<script>")
    says(page, "#event-list", "<script>document.title='owned'</script>")
    page.type("#event-text", "")
    assert page.run("document.title") == "web – Portreeve"
    assert page.run("document.querySelectorAll('main img, main script').length") == 0


def thousands(page):
    goes_to(page, "flows")
    says(page, "#flow-count", r"^[45],\d\d\d flows")
    assert page.run("document.querySelectorAll('#flow-rows tr').length") < 100
    page.run("(s => s.scrollTop = s.scrollHeight)(document.getElementById('flow-scroll'))")
    last = "Number(document.querySelector('#flow-rows tr:nth-last-child(2)').getAttribute('aria-rowindex'))"
    page.until(f"{last} > 4000", "the last rows are drawn")
    page.click(".flows th.age button")
    assert page.run("document.querySelector('th.age').getAttribute('aria-sort')") == "descending"
    page.type("#flow-text", "2001:db8")
    says(page, "#flow-count", r"^[\d,]+ match; [\d,]+ flows")
    page.run("(s => { s.value = 'udp'; s.dispatchEvent(new Event('input', { bubbles: true })); })(document.getElementById('flow-protocol'))")
    page.until("[...document.querySelectorAll('#flow-rows tr:not(.spacer)')].every(r => r.textContent.startsWith('udp'))")
    page.type("#flow-text", "")


def bears_loss(page):
    with mock("--flows", "30") as url:
        port = url.split(":")[2].split("/")[0]
        connects(page, url)
    says(page, "#state", "^disconnected$")
    says(page, "#banner", "^The engine does not answer: .*It may have ended.")
    with mock("--flows", "40", "--port", port, "--name", "another"):
        says(page, "#state", "^connected$")
        says(page, "#guest", "^another$")
        assert not page.run("document.getElementById('banner').checkVisibility()")
        goes_to(page, "events")
        says(page, "#event-list", "flow opened")
        says(page, "#event-note", "newest first")


def asks_for_a_token(page):
    with mock("--token", "0123456789abcdef", "--no-dns") as url:
        page.open(url.split("?")[0])
        says(page, "#state", "^token needed$")
        page.type("#token", "0123456789abcdef")
        page.key("Enter")
        says(page, "#state", "^connected$")
        assert not page.run("document.getElementById('token-form').checkVisibility()")
        page.run("sessionStorage.clear()")
        connects(page, url)
        goes_to(page, "dns")
        says(page, "#dns-problem", "started without a name server")
        is_clean(page)


def would_notice(page):
    """That a script in the page is stopped, and that this test sees it."""
    page.run("document.body.append(Object.assign(document.createElement('script'), { textContent: 'document.title = 1' }))")
    page.run("new Promise(done => setTimeout(done, 200))")
    assert any("Content Security Policy" in said for said in page.complaints()), page.complaints()


def everywhere(page, url, flow):
    connects(page, url)
    measures(page)
    writes_numbers(page)
    plots(page)
    publishes(page)
    tells_events(page)
    kills(page, flow)
    names(page)
    fits(page)
    is_clean(page)


def overtime(*_):
    raise TimeoutError(f"not done within {OVERALL} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="the page of a running engine")
    parser.add_argument("--flow", default="203.0.113", help="finds a flow that may be killed")
    options = parser.parse_args()
    program = browser.find()
    if program is None:
        print("no Chromium is installed (package chromium)", file=sys.stderr)
        return NO_BROWSER
    signal.signal(signal.SIGALRM, overtime)
    signal.alarm(OVERALL)
    with browser.Browser(program) as page:
        if options.url is not None:
            everywhere(page, options.url, options.flow)
        else:
            with mock() as url:
                everywhere(page, url, options.flow)
                hostile(page)
                thousands(page)
                is_clean(page)
            bears_loss(page)
            is_clean(page)
            asks_for_a_token(page)
            would_notice(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
