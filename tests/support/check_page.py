# SPDX-License-Identifier: MIT
"""
Looks at a page of ctxtool record in a headless Chromium: check_page.py FILE [PICTURE]. The recording is that of
examples/picture.sh. Prints what is wrong and exits with 1; 77: there is no browser. A picture is written as PICTURE.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import browser

wrong = []


def expect(condition, text):
    if not condition:
        wrong.append(text)


ROWS = "[...document.querySelectorAll('.row')].map(r => ({kind: r.className, text: r.getAttribute('aria-label'), " \
       "outcome: r.dataset.outcome || '', expanded: r.getAttribute('aria-expanded'), " \
       "top: r.getBoundingClientRect().top, height: r.offsetHeight}))"
# The colour of the plot at a place of the window, as #rrggbb.
PIXEL = """(() => {
    const canvas = document.querySelector('#plot canvas'), box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    const [r, g, b] = canvas.getContext('2d').getImageData((%f - box.left) * scale, (%f - box.top) * scale, 1, 1).data;
    return '#' + [r, g, b].map(v => v.toString(16).padStart(2, '0')).join('');
})()"""


def colour_of(page, name):
    return page.eval(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")


def row_of(page, text):
    found = [r for r in page.eval(ROWS) if text in r["text"]]
    expect(found, f"no row has {text}")
    return found[0] if found else {"top": 0, "height": 0, "text": "", "outcome": "", "kind": ""}


def row_has_colour(page, row, name):
    """Whether somewhere in the row of the plot there is that colour."""
    y = row["top"] + row["height"] / 2
    width = page.eval("document.querySelector('#plot').clientWidth")
    left = page.eval("document.querySelector('#plot').getBoundingClientRect().left")
    wanted = colour_of(page, name)
    return any(page.eval(PIXEL % (left + x, y)) == wanted for x in range(4, int(width), 12))


def check_tree(page):
    rows = page.eval(ROWS)
    expect(len(rows) >= 6, f"{len(rows)} rows are in sight")
    fan = row_of(page, "GET /fan?n=200")
    expect(fan["outcome"] == "hangup" or fan["outcome"] == "call", f"the client that left: {fan}")
    expect(row_has_colour(page, fan, fan["outcome"]), f"its bar has not the colour of {fan['outcome']}")
    expect(fan["outcome"] in fan["text"], f"its text lacks the cause: {fan['text']}")
    late = row_of(page, "deadline ETIME")
    expect(late["outcome"] == "deadline", f"the request with a deadline: {late}")
    expect(row_has_colour(page, late, "deadline"), "its bar has not the colour of a deadline")
    return fan


def check_batch(page):
    marks = page.eval("[...document.querySelectorAll('.batch')].map(m => m.textContent)")
    found = [m for m in marks if m.startswith(("200 operations", "201 operations"))]
    expect(len(found) == 1, f"marks of batches: {marks}")


def check_hover(page, fan):
    page.mouse("mouseMoved", 60, fan["top"] + fan["height"] / 2)
    tip = page.eval("document.querySelector('#tip').hidden ? '' : document.querySelector('#tip').innerText")
    for part in ("GET /fan?n=200", "cancelled", "made at", "cause"):
        expect(part in tip, f"what is said of the request lacks {part}: {tip}")
    band = row_of(page, "200 RECV")
    left = page.eval("document.querySelector('#plot').getBoundingClientRect().left")
    width = page.eval("document.querySelector('#plot').clientWidth")
    seen = ""
    for x in range(10, int(width), 30):
        page.mouse("mouseMoved", left + x, band["top"] + band["height"] / 2)
        seen = page.eval("document.querySelector('#tip').innerText")
        if "ECANCELED" in seen:
            break
    expect("ECANCELED" in seen and "ended by a batch" in seen, f"what is said of an operation: {seen}")
    page.mouse("mouseMoved", 5, 5)


def check_filter(page):
    before = len(page.eval(ROWS))
    page.key("/")
    page.drawn(lambda: page.type("deadline etime"))
    rows = page.eval(ROWS)
    expect(not any("/fan?n=200" in r["text"] for r in rows), "the filter shows what it should not")
    expect(any(r["outcome"] == "deadline" for r in rows), "the filter hides what it should show")
    expect("match" in page.eval("document.querySelector('#matches').textContent"), "matches are not counted")
    page.drawn(lambda: page.key("Escape", 27))
    expect(len(page.eval(ROWS)) == before, "without a filter not all is shown")
    page.eval("document.activeElement.blur()")


def check_keys(page):
    for _ in range(3):
        page.key("ArrowDown", 40)
    selected = page.eval("document.querySelector('.row[aria-selected=true]').getAttribute('aria-label')")
    focused = page.eval("document.activeElement.getAttribute('aria-label')")
    expect(selected and selected == focused, f"keys choose {selected}, the focus is on {focused}")
    expect(page.eval("document.querySelector('#details b').textContent"), "no details of what is chosen")
    page.key("Home", 36)
    before = len(page.eval(ROWS))
    page.drawn(lambda: page.key("ArrowLeft", 37))
    expect(len(page.eval(ROWS)) < before, "the left arrow folds nothing")
    page.drawn(lambda: page.key("ArrowRight", 39))
    expect(len(page.eval(ROWS)) == before, "the right arrow does not unfold")
    page.drawn(lambda: page.key("+"))
    expect(not page.eval("document.querySelector('#window').hidden"), "+ does not zoom in")
    page.drawn(lambda: page.key("0"))
    expect(page.eval("document.querySelector('#window').hidden"), "0 does not show all")
    page.key("Escape", 27)


def main():
    if not browser.find():
        print("there is no chromium: make deps-pictures")
        return 77
    with browser.Browser() as page:
        page.open(sys.argv[1])
        fan = check_tree(page)
        check_batch(page)
        check_hover(page, fan)
        check_filter(page)
        check_keys(page)
        if len(sys.argv) > 2:
            page.screenshot(sys.argv[2])
        light = colour_of(page, "paper")
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        expect(colour_of(page, "paper") != light, "there is no dark form")
        expect(not page.problems, f"the browser complains: {page.problems}")
    for line in wrong:
        print(line)
    if not wrong:
        print("the page shows the client that left, its batch, and what is asked of it")
    return bool(wrong)


sys.exit(main())
