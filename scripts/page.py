#!/usr/bin/env python3
"""page.py TOKKI MODEL [DIRECTORY]: the chat page of `tokki serve` in a headless Chromium.

Needs `pip install playwright` and Chromium at /usr/bin/chromium, or where CHROMIUM says. Prints a line per check on stderr and, last,
how many faults it saw on stdout. Pictures of the page go to DIRECTORY, to be looked at.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback

from playwright.sync_api import expect, sync_playwright

TOKKI = os.path.abspath(sys.argv[1])
# A file, or a name of the store.
MODEL = os.path.abspath(sys.argv[2]) if os.path.exists(sys.argv[2]) else sys.argv[2]
PICTURES = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
CHECKS = []
HOSTILE = "<img src=x onerror=alert(1)> <script>alert(2)</script> [a](javascript:alert(3)) **<b onclick=alert(4)>bold</b>**"
MARKDOWN = f"""# Heading

A **bold** word, `code`, and a [link](https://example.org/a).

- one
- two

| city | people |
|---|---|
| Seoul | 9,400,000 |

```py
print("1 < 2")
```

{HOSTILE}"""


def check(function):
    CHECKS.append(function)
    return function


class Server:
    def __init__(self, *arguments):
        command = [TOKKI, "serve", "--port", "0", "--ctx", "2048", *arguments, MODEL]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "listening at" in line:
                self.url = line.split("listening at")[1].strip()
                return
        sys.exit("page.py: the server did not start: " + "".join(said))

    def __enter__(self):
        return self.url

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def stream(*deltas, hold=False):
    """An answer of the server's form that consists of these deltas."""
    def chunk(delta, why=None):
        choice = {"index": 0, "delta": delta, "finish_reason": why}
        return "data: " + json.dumps({"id": "chatcmpl-1", "choices": [choice]}) + "\n\n"

    return "".join(map(chunk, deltas)) + ("" if hold else chunk({}, "stop") + "data: [DONE]\n\n")


def answering(page, *deltas):
    """From now on every answer is this one, whatever the model would say. Gives the requests that were made."""
    asked = []

    def handle(route):
        asked.append(json.loads(route.request.post_data))
        route.fulfill(status=200, content_type="text/event-stream", body=stream(*deltas))

    page.route("**/v1/chat/completions", handle)
    return asked


def ask(page, text):
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def answer(page):
    """The last answer, when it is whole."""
    expect(page.locator("#send")).to_have_text("Send", timeout=120_000)
    return page.locator("article.assistant").last


def picture(page, name):
    if PICTURES:
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}.png")


@check
def an_answer_streams_and_is_kept(page):
    page.get_by_label("Message", exact=True).fill("Write a long story about rain.")
    page.get_by_role("button", name="Send").click()
    text = page.locator("article.assistant .text").last
    expect(text).not_to_be_empty(timeout=60_000)
    first = text.inner_text()
    page.wait_for_function("before => document.querySelector('article.assistant .text').innerText.length > before + 20", arg=len(first))
    page.get_by_role("button", name="Stop").click()
    expect(answer(page)).to_contain_text("stopped")
    kept = text.inner_text()
    assert kept.startswith(first.strip()[:10])
    page.reload()
    page.get_by_role("navigation").get_by_role("button", name="Write a long story", exact=False).first.click()
    assert page.locator("article.assistant .text").last.inner_text() == kept, "the conversation is the same after a reload"


@check
def a_conversation_goes_on_and_is_exported(page):
    asked = answering(page, {"content": "Rain is "}, {"content": "water."})
    ask(page, "What is rain?")
    expect(answer(page).locator(".text")).to_have_text("Rain is water.")
    ask(page, "And snow?")
    expect(page.locator("article")).to_have_count(4)
    answer(page)
    assert [m["content"] for m in asked[1]["messages"]] == ["What is rain?", "Rain is water.", "And snow?"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    turns = json.loads(pathlib.Path(download.value.path()).read_text())["turns"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2 and turns[1]["content"] == "Rain is water."
    page.get_by_role("button", name="New conversation").first.click()
    expect(page.locator("article")).to_have_count(0)


@check
def a_conversation_is_deleted_after_a_question(page):
    answering(page, {"content": "Yes."})
    ask(page, "Is this kept?")
    answer(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete Is this kept?").click()
    expect(page.locator("#list li")).to_have_count(0)
    page.reload()
    expect(page.locator("#list li")).to_have_count(0)


@check
def what_is_deleted_while_it_is_answered_stays_deleted(page):
    ask(page, "Write a long story about snow.")
    expect(page.locator("article.assistant .text").last).not_to_be_empty(timeout=60_000)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete Write a long story about snow.").click()
    expect(page.locator("#send")).to_have_text("Send")
    expect(page.locator("#list li")).to_have_count(0)
    page.reload()
    expect(page.locator("#list li")).to_have_count(0)


@check
def two_tabs_keep_their_conversations(page):
    other = page.context.new_page()
    other.goto(page.url)
    for tab, text in [(page, "From the first"), (other, "From the second")]:
        answering(tab, {"content": "Yes."})
        ask(tab, text)
        answer(tab)
    expect(page.locator("#list li")).to_have_count(2)
    page.reload()
    expect(page.locator("#list li")).to_have_count(2)


@check
def a_conversation_in_two_tabs_loses_no_turn(page):
    answering(page, {"content": "Yes."})
    ask(page, "First here")
    answer(page)
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="First here", exact=True).click()
    answering(other, {"content": "Yes."})
    ask(other, "Second there")
    expect(other.locator("article.assistant")).to_have_count(2)
    # This tab shows what the other one has added, and goes on after it.
    expect(page.locator("article.user")).to_have_count(2)
    ask(page, "Third here")
    expect(page.locator("article.assistant")).to_have_count(3)
    kept = page.evaluate("JSON.parse(localStorage['tokki.chats']).map((chat) => chat.turns.filter((turn) => turn.role === 'user').length)")
    assert kept == [3], kept


@check
def half_an_answer_is_told_to_be_one(page):
    page.route("**/v1/chat/completions", lambda route: route.fulfill(
        status=200, content_type="text/event-stream", body=stream({"content": "Half"}, hold=True)))
    ask(page, "All of it?")
    expect(answer(page)).to_contain_text("ended before it was complete")


@check
def markdown_is_shown_and_html_is_not_obeyed(page):
    obeyed = []
    page.on("dialog", lambda dialog: (obeyed.append(dialog.message), dialog.dismiss()))
    answering(page, {"content": MARKDOWN})
    ask(page, HOSTILE)
    text = answer(page).locator(".text")
    expect(text.locator("h2")).to_have_text("Heading")
    expect(text.locator("ul > li")).to_have_count(2)
    expect(text.locator("table td").first).to_have_text("Seoul")
    expect(text.locator("pre code")).to_have_text('print("1 < 2")')
    expect(text.locator("a")).to_have_attribute("href", "https://example.org/a")
    expect(text).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#log :is(img, script, b, iframe, [onclick], [onerror], a[href^=javascript])").count() == 0
    assert not obeyed, obeyed
    picture(page, "markdown")
    text.locator("pre button").click()
    expect(text.locator("pre button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == 'print("1 < 2")'
    page.locator(".tools button", has_text="Copy").last.click()
    assert page.evaluate("navigator.clipboard.readText()") == MARKDOWN


@check
def thoughts_are_folded_and_opened_by_keyboard(page):
    answering(page, {"reasoning_content": "The user greets me."}, {"content": "Hello."})
    ask(page, "Hi")
    details = answer(page).locator("details")
    expect(details.locator("div")).not_to_be_visible()
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(details.locator("div")).to_have_text("The user greets me.")
    expect(details.locator("div")).to_be_visible()
    expect(answer(page).locator(".text")).to_have_text("Hello.")


@check
def a_thought_is_ended_from_the_page(page):
    # The answer is held back, so that the page is in the middle of the thought.
    page.evaluate("""body => {
      const real = window.fetch;
      window.asked = [];
      window.fetch = (url, options) => {
        if (!String(url).startsWith("v1/chat/completions")) return real(url, options);
        if (String(url).endsWith("control")) { window.asked.push(JSON.parse(options.body)); return Promise.resolve(new Response("{}")); }
        return Promise.resolve(new Response(new ReadableStream({ start: (to) => to.enqueue(new TextEncoder().encode(body)) })));
      };
    }""", stream({"reasoning_content": "Let me think for ever"}, hold=True))
    ask(page, "Think")
    page.get_by_role("button", name="Answer now").click()
    expect(page.get_by_role("button", name="Answer now")).to_be_disabled()
    assert page.evaluate("window.asked") == [{"id": "chatcmpl-1", "action": "reasoning_end"}]


def composed(page, *events):
    """Types Hangul as an input method does; `events` come when the syllable is open and Enter is pressed."""
    asked = answering(page, {"content": "네."})
    page.get_by_label("Message", exact=True).focus()
    cdp = page.context.new_cdp_session(page)
    key = {"key": "Enter", "code": "Enter"}
    page.keyboard.insert_text("안녕하세")
    cdp.send("Input.imeSetComposition", {"text": "요", "selectionStart": 1, "selectionEnd": 1})
    for event in events:
        match event:
            case "enter in composition":
                cdp.send("Input.dispatchKeyEvent", {"type": "keyDown", "windowsVirtualKeyCode": 229, **key})
            case "end":
                cdp.send("Input.insertText", {"text": "요"})
            case "enter":
                cdp.send("Input.dispatchKeyEvent", {"type": "keyDown", "windowsVirtualKeyCode": 13, **key})
    page.wait_for_timeout(300)
    return [request["messages"][-1]["content"] for request in asked]


@check
def hangul_is_sent_once_by_one_enter(page):
    assert composed(page, "enter in composition", "end") == ["안녕하세요"]


@check
def hangul_is_sent_once_where_enter_comes_twice(page):
    assert composed(page, "enter in composition", "end", "enter") == ["안녕하세요"]


@check
def hangul_is_sent_once_where_the_syllable_ends_first(page):
    # As Safari does it. The next message is not sent by the end of its first syllable.
    assert composed(page, "end", "enter in composition") == ["안녕하세요"]
    assert composed(page, "end") == []


@check
def enter_sends_and_shift_enter_begins_a_line(page):
    asked = answering(page, {"content": "Yes."})
    page.get_by_label("Message", exact=True).focus()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    answer(page)
    assert asked[0]["messages"][-1]["content"] == "one\ntwo"
    # By keyboard alone to the button that sends.
    page.keyboard.type("three")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answer(page)
    assert len(asked) == 2


@check
def files_are_attached_with_their_tokens(page):
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "notes.txt").write_text("The rabbit lives in the office.\n")
    (folder / "picture.bin").write_bytes(bytes(range(256)))
    page.locator("#file").set_input_files([folder / "notes.txt", folder / "picture.bin"])
    expect(page.locator("#files span")).to_have_count(1)
    expect(page.locator("#files")).to_contain_text("tokens")
    expect(page.locator("#status")).to_contain_text("picture.bin is not a text")
    asked = answering(page, {"content": "In the office."})
    ask(page, "Where does it live?")
    answer(page)
    sent = asked[0]["messages"][-1]["content"]
    assert sent.startswith("notes.txt:\n```\nThe rabbit") and sent.endswith("Where does it live?")


@check
def settings_go_with_the_request(page):
    asked = answering(page, {"content": "Aye."})
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System message").fill("Talk like a sailor.")
    page.get_by_label("Temperature").fill("0.3")
    page.get_by_label("Most tokens of an answer").fill("9")
    page.get_by_label("Most tokens of a thought").fill("40")
    page.get_by_role("button", name="Done").click()
    ask(page, "Hello")
    answer(page)
    request = asked[0]
    assert request["messages"][0] == {"role": "system", "content": "Talk like a sailor."}
    assert (request["temperature"], request["max_tokens"], request["thinking_budget"]) == (0.3, 9, 40)
    page.reload()
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("System message")).to_have_value("Talk like a sailor.")
    # What is no number is not left out in silence.
    page.get_by_label("Temperature").fill("warm")
    page.get_by_role("button", name="Done").click()
    ask(page, "Hello")
    expect(page.locator("#status")).to_contain_text("Temperature is no number: warm")


@check
def an_error_is_told_and_the_page_goes_on(page):
    page.route("**/v1/chat/completions", lambda route: route.fulfill(
        status=400, content_type="application/json", body=json.dumps({"error": {"message": "the prompt is too long"}})))
    ask(page, "Hello")
    expect(answer(page).locator(".error")).to_have_text("the prompt is too long")
    page.unroute("**/v1/chat/completions")
    answering(page, {"content": "Hi."})
    page.get_by_role("button", name="Again").click()
    expect(answer(page).locator(".text")).to_have_text("Hi.")


@check
def everything_has_a_name_for_screen_readers(page):
    answering(page, {"reasoning_content": "Hm."}, {"content": "Hello."})
    ask(page, "Hi")
    answer(page)
    nameless = page.evaluate("""() => [...document.querySelectorAll("button, select, textarea, input:not([hidden])")].filter((node) =>
      !(node.textContent.trim() && node.tagName === "BUTTON") && !node.getAttribute("aria-label") && !node.labels?.length).map((node) => node.outerHTML)""")
    assert nameless == [], nameless
    expect(page.get_by_role("log")).to_have_attribute("aria-live", "polite")
    assert page.locator("html").get_attribute("lang")


CONTRAST = """() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[0-9.]+/g).map(Number).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => { for (; node; node = node.parentElement) { const c = getComputedStyle(node).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
  let least = 21;
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()) || !node.getClientRects().length) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
}"""


@check
def dark_and_light_can_be_read(page):
    answering(page, {"reasoning_content": "Hm."}, {"content": MARKDOWN})
    ask(page, "Hi")
    answer(page)
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        contrast = page.evaluate(CONTRAST)
        assert contrast >= 4.5, f"{scheme}: contrast of only {contrast:.1f}"
        picture(page, scheme)
    assert grounds[0] != grounds[1]


@check
def a_phone_shows_all_of_it(page):
    page.set_viewport_size({"width": 360, "height": 640})
    answering(page, {"content": MARKDOWN + "\n\n" + "x" * 400})
    ask(page, "Hi")
    answer(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "nothing is wider than the screen"
    expect(page.locator("#input")).to_be_in_viewport()
    expect(page.get_by_role("navigation")).not_to_be_visible()
    page.get_by_role("button", name="Conversations").click()
    expect(page.get_by_role("navigation")).to_be_visible()
    picture(page, "phone")


def fresh(browser, url):
    """A page of a new visitor, and what went wrong on it."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], viewport={"width": 1000, "height": 700})
    page = context.new_page()
    page.set_default_timeout(15_000)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(f"error on the page: {error}"))
    page.on("request", lambda request: None if request.url.startswith((url, "data:", "blob:")) else wrong.append(f"asked {request.url}"))
    page.goto(url)
    expect(page.locator("#model option").first).to_be_attached()
    return context, page, wrong


def asks_for_the_key(browser):
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write("sesame-open-12345678\n")
        keys.flush()
        with Server("--api-key-file", keys.name) as url:
            page = browser.new_page()
            page.goto(url)
            expect(page.locator("#status")).to_contain_text("key")
            page.get_by_role("button", name="Settings").click()
            page.get_by_label("API key").fill("sesame-open-12345678")
            page.get_by_role("button", name="Done").click()
            expect(page.locator("#model option").first).to_be_attached()
            page.get_by_label("Message", exact=True).fill("Say yes.")
            page.keyboard.press("Enter")
            expect(page.locator("article.assistant .text").last).not_to_be_empty(timeout=60_000)
            page.close()


def tried(name, function):
    try:
        function()
    except Exception:
        traceback.print_exc()
        print(f"FAILED  {name}", file=sys.stderr)
        return 1
    print(f"ok      {name}", file=sys.stderr)
    return 0


def run_on(browser, url, function):
    context, page, wrong = fresh(browser, url)
    try:
        function(page)
        assert not wrong, wrong
    finally:
        context.close()


def main():
    faults = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=ARGUMENTS)
        with Server() as url:
            for function in CHECKS:
                faults += tried(function.__name__, lambda: run_on(browser, url, function))
        faults += tried(asks_for_the_key.__name__, lambda: asks_for_the_key(browser))
        browser.close()
    print(faults)


main()
