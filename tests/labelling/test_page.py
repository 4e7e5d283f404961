"""The labelling page in Chromium, against a stand-in for its server."""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest

from tests.labelling.fake_backend import PAGE, FakeBackend, drawn
from tests.serving.browser import CHROMIUM

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install it")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium")

TIMEOUT_MS = 15_000
CALLS = ("next", "many", "characters")  # that only ask for images


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def english(browser):
    return browser.new_context(locale="en-GB")


@pytest.fixture
def opened(browser, english):
    """Return opened(backend, view, **options of the browser) -> page; no page may have a fault."""
    with ExitStack() as resources:
        faults = []

        def note(fault):
            # The browser itself notes each refusal; others are faults, as what the policy forbids.
            if "Failed to load resource" not in fault:
                faults.append(fault)

        def open_page(backend, view="one", **options):
            url = resources.enter_context(backend.served())
            context = english
            if options:
                context = browser.new_context(**{"locale": "en-GB", **options})
                resources.callback(context.close)
            page = context.new_page()
            resources.callback(page.close)
            page.set_default_timeout(TIMEOUT_MS)
            page.on("pageerror", lambda error: note(str(error)))
            page.on("console", lambda message: message.type == "error" and note(message.text))
            page.goto(f"{url}#{view}")
            page.locator("#stage img" if view == "one" else "#name:text('shop')").wait_for()
            return page

        yield open_page
    assert not faults


@pytest.fixture
def backend():
    return FakeBackend()


def shown_text(page):
    return "".join(page.locator(".box").all_inner_texts())


def wait_for_image(page, number):
    page.wait_for_selector(f"#stage img[src$='image/{number}']")


def wait_for(page, condition):
    """Wait until a condition on the stand-in holds; the page's events go on meanwhile."""
    for _ in range(TIMEOUT_MS // 10):
        if condition():
            return
        page.wait_for_timeout(10)
    raise AssertionError("it does not happen")


def decisions(backend):
    return [(name, body) for name, body in backend.posts if name not in CALLS]


def labels_sent(backend):
    return [(body["id"], body["text"]) for name, body in backend.posts if name == "label"]


def test_enter_accepts_and_shows_the_next_image_enlarged_by_a_whole_factor(opened, backend):
    page = opened(backend)
    assert shown_text(page) == "7kmp"
    box = page.locator("#stage img").bounding_box()
    assert (box["width"], box["height"]) in [(100 * k, 60 * k) for k in (4, 5, 6, 7)]
    facts = page.inner_text("#facts")
    assert "The model read 45 of 50 images chosen by chance: 78 to 97 % of all." in facts
    assert "Of 20 images that you read twice, 1 differed (5 %)." in facts
    assert (page.inner_text("#left"), page.inner_text("#an-hour")) == ("30", "1200")
    wait_for(page, lambda: sum(name == "next" for name, _ in backend.posts) == 2)
    assert backend.posts[1][1]["held"] == list(range(1, 11))  # ten are loaded ahead
    page.keyboard.press("Enter")
    wait_for_image(page, 2)
    wait_for(page, lambda: page.evaluate("labelling.lastLatencyMs !== null"))
    wait_for(page, lambda: backend.labels == {1: "7kmp"})
    assert decisions(backend)[0][1]["keys"] == 1
    page.locator("#labelled", has_text="1").wait_for()


def test_the_doubtful_character_is_marked_and_replaced_by_typing(opened, backend):
    page = opened(backend)
    assert page.locator(".doubtful").all_inner_texts() == ["m"]
    line = page.locator(".doubtful").evaluate("box => getComputedStyle(box).textDecorationLine")
    assert line == "underline"
    assert page.locator("#reading").text_content() == "7 k m (doubtful) p"
    page.keyboard.type("n")
    assert shown_text(page) == "7knp" and not page.locator(".doubtful").count()
    page.locator(".box").nth(1).click(force=True)  # which hits the input that lies over it
    page.keyboard.type("h")
    assert shown_text(page) == "7hnp"
    page.keyboard.press("Enter")
    wait_for_image(page, 2)
    page.keyboard.type("0")  # none is doubtful: the first
    assert shown_text(page) == "02wx"


KEYS = [
    (["ArrowLeft", "x"], "7xmp"),
    (["Delete", "x"], "7kxp"),
    (["Backspace", "Backspace", "Backspace"], "mp"),
    (["x", "Backspace", "y"], "7kyp"),
    (["Home", "Delete", "Delete"], "mp"),
    (["Control+a", "x"], "x"),
    (["m"], "7kmp"),  # confirmed: no longer doubtful
]


def test_keys_correct_the_text(opened, backend):
    backend.words = dict.fromkeys(range(1, 2 * len(KEYS) + 1), "7kmp")
    page = opened(backend)
    for number, (keys, text) in enumerate(KEYS):
        wait_for_image(page, 2 * number + 1)  # the third character of these is doubtful
        for key in keys:
            page.keyboard.press(key)
        assert shown_text(page) == text, keys
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
    assert not backend.labels


def test_the_last_character_goes_on_by_itself_unless_switched_off(opened, backend):
    page = opened(backend)
    page.keyboard.type("np")
    page.keyboard.press("Enter")  # out of habit: the image that has just come stays
    wait_for_image(page, 2)
    wait_for(page, lambda: labels_sent(backend) == [(1, "7knp")])
    page.click("#auto")
    page.reload()
    wait_for_image(page, 2)
    assert not page.is_checked("#auto")
    page.keyboard.type("q2wy")
    assert shown_text(page) == "q2wy" and len(labels_sent(backend)) == 1


GIVE = """({ kind, text = "", file }) => {
    const data = new DataTransfer();
    data.setData("text", text);
    if (file) data.items.add(new File([file], "a.png", { type: "image/png" }));
    const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
    const event = new Kind(kind, { clipboardData: data, dataTransfer: data, bubbles: true });
    document.activeElement.dispatchEvent(event);
}"""


def test_lengths_that_vary_ignored_case_and_pasted_text(opened):
    page = opened(FakeBackend(min_captcha=3, max_captcha=5, ignore_case=True))
    assert page.is_hidden("#auto")
    page.keyboard.type("NPQR")
    assert shown_text(page) == "7knpq"
    for _ in range(3):
        page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    assert "3 to 5" in page.inner_text("#message")
    page.evaluate(GIVE, {"kind": "paste", "text": " ABCD "})
    assert shown_text(page) == "abcd"


def test_undo_skip_and_unreadable(opened, backend):
    page = opened(backend)
    page.click("#undo")
    page.get_by_text("There is nothing to undo").wait_for()
    page.keyboard.type("n")
    for key in ("ArrowUp", "Shift+Enter"):
        page.keyboard.press("Enter")
        wait_for_image(page, 2)
        page.keyboard.press(key)
        wait_for_image(page, 1)
        assert shown_text(page) == "7knp" and not backend.labels
    for number, key in enumerate(("Escape", "F2", "#skip", "#unreadable"), 1):
        wait_for_image(page, number)
        page.click(key) if key.startswith("#") else page.keyboard.press(key)
    wait_for(page, lambda: len(decisions(backend)) == 9)
    sent = [(name, body["id"]) for name, body in decisions(backend)[-4:]]
    assert sent == [("skip", 1), ("unreadable", 2), ("skip", 3), ("unreadable", 4)]


def test_a_new_character_is_asked_about_once(opened, backend):
    page = opened(backend)
    page.keyboard.type("é")
    page.keyboard.press("Enter")
    assert "é" in page.inner_text("#question")
    page.keyboard.press("Enter")  # the careful answer has the focus
    assert shown_text(page) == "7kép" and not decisions(backend)
    page.keyboard.press("Enter")
    page.click("#dialog button[value=yes]")
    for number in (2, 3):
        wait_for_image(page, number)
        page.keyboard.type("é")
        page.keyboard.press("Enter")
    wait_for(page, lambda: backend.labels == {1: "7kép", 2: "é2wx", 3: "9féj"})


FAILURES = [
    (422, {"error": "length", "message": "too long"}, "4 to 4"),
    (422, {"error": "other", "message": "the disk is full"}, "the disk is full"),
    (500, {}, "500"),
]


def test_an_image_that_was_not_saved_comes_back(opened, backend):
    page = opened(backend)
    page.keyboard.type("n")
    for status, answer, message in FAILURES:
        backend.refusals["label"] = [(status, answer)]
        page.keyboard.press("Enter")
        page.locator("#message.error", has_text=message).wait_for()
        wait_for_image(page, 1)
        assert shown_text(page) == "7knp"
    page.keyboard.press("Enter")
    wait_for_image(page, 2)
    wait_for(page, lambda: backend.labels == {1: "7knp"})
    assert page.inner_text("#message") == ""
    backend.refusals["label"] = [(409, {"error": "taken", "message": "taken"})]
    page.keyboard.press("Enter")  # somebody else has labelled it: it does not come back
    page.locator("#message.error", has_text="Somebody else").wait_for()
    wait_for_image(page, 3)


# A label waits for an answer until mend() is called: then it gets none.
CUT = """() => {
    const real = window.fetch;
    window.fetch = (path, options) => path !== "api/label" ? real(path, options)
        : new Promise((_, reject) => {
            window.mend = () => { window.fetch = real; reject(new TypeError("cut")); };
        });
}"""
LEAVES = "dispatchEvent(new Event('beforeunload', {cancelable: true}))"


def test_labels_without_a_connection_come_back_in_order_and_leaving_warns(opened, backend):
    page = opened(backend)
    assert page.evaluate(LEAVES)
    page.evaluate(CUT)
    for number in (2, 3, 4):
        page.keyboard.press("Enter")
        wait_for_image(page, number)
    assert not page.evaluate(LEAVES)
    page.evaluate("mend()")
    page.locator("#message.error", has_text="does not answer").wait_for()
    for number in (1, 2, 3, 4):
        wait_for_image(page, number)
        page.keyboard.press("Enter")
    wait_for(page, lambda: [k for k, _ in labels_sent(backend)] == [1, 2, 3, 4])
    wait_for(page, lambda: page.evaluate(LEAVES))
    page.evaluate(CUT)
    page.keyboard.press("Enter")
    wait_for_image(page, 6)
    page.keyboard.type("0")
    page.evaluate("mend()")
    page.locator("#message.error").wait_for()
    assert shown_text(page) == "04ys"  # it does not come back under the fingers
    page.keyboard.press("Enter")
    wait_for_image(page, 5)
    page.locator("#message.error", has_text="does not answer").wait_for()


def test_a_view_that_the_server_did_not_answer_is_loaded_when_it_does(opened, backend):
    page = opened(backend)
    page.route("**/api/train", lambda route: route.abort())
    page.click("text=Train")
    page.locator("#message.error", has_text="asks again").wait_for()
    page.unroute("**/api/train")
    page.get_by_text("New labels: 130").wait_for()
    assert page.inner_text("#message") == ""


def test_another_second_reading_is_noticed(opened, backend):
    backend.earlier = {1: "1kmp", 2: "q2wz"}
    page = opened(backend)
    for number, notice, choice in (
        (1, "as 1kmp before and as 7kmp now", "F3"),
        (2, "as q2wz before and as q2wx now", "F4"),
    ):
        wait_for_image(page, number)
        page.keyboard.press("Enter")
        page.locator("#notice", has_text=notice).wait_for()
        page.keyboard.press(choice)
        assert page.inner_text("#notice") == ""
    page.keyboard.press("Enter")  # the text has the focus again
    wait_for_image(page, 4)
    wait_for(page, lambda: len(labels_sent(backend)) == 3)
    relabelled = [body for name, body in backend.posts if name == "relabel"]
    assert [(body["id"], body["text"]) for body in relabelled] == [(2, "q2wx")]


def test_the_end_and_no_model(opened):
    backend = FakeBackend(images=1, model=None, problem="TensorFlow is missing")
    page = opened(backend)
    assert "TensorFlow is missing" in page.inner_text("#facts")
    assert "No model yet" in page.inner_text("#facts")
    count = len(backend.posts)
    backend.state["model"] = {"step": 100}  # which is asked for its suggestions
    wait_for(page, lambda: len(backend.posts) > count)
    page.keyboard.press("Enter")
    page.get_by_text("No image is waiting").wait_for()
    assert page.is_disabled("#accept")


def compose(page, *texts, committed=""):
    """Type with an input method: what is composed in between, and what comes of it."""
    session = page.context.new_cdp_session(page)
    for text in texts:
        values = {"text": text, "selectionStart": len(text), "selectionEnd": len(text)}
        session.send("Input.imeSetComposition", values)
    if not committed:
        return
    enter = {"key": "Enter", "windowsVirtualKeyCode": 229}
    session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    session.send("Input.insertText", {"text": committed})


def test_a_composition_does_not_submit_and_replaces_characters(opened):
    backend = FakeBackend(char_set=["验", "证", "码", "图"], min_captcha=2, max_captcha=2)
    backend.words = dict.fromkeys(range(1, 9), "码图")
    page = opened(backend)
    page.click("#auto")
    page.keyboard.press("Home")
    compose(page, "y", "ya", "yan", committed="验")
    assert shown_text(page) == "验图" and not decisions(backend)
    page.keyboard.press("Home")
    compose(page, "yan", "yanzheng", committed="验证")
    assert shown_text(page) == "验证" and not decisions(backend)
    page.click("#auto")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    compose(page, "m", "ma", committed="码")  # the last one typed: now it goes on
    wait_for(page, lambda: labels_sent(backend) == [(1, "验码")])


def test_what_is_still_being_composed_can_be_erased_and_accepted_by_the_button(opened, backend):
    page = opened(backend)
    compose(page, "x", "")  # as keyboards on glass do with every letter, and Backspace
    page.keyboard.press("Backspace")
    assert shown_text(page) == "7mp"
    compose(page, "y")
    assert shown_text(page) == "7ymp"
    page.click("#accept")
    wait_for_image(page, 2)
    wait_for(page, lambda: labels_sent(backend) == [(1, "7ymp")])


def test_the_grid_accepts_all_but_the_wrong_ones(opened, backend):
    page = opened(backend)
    page.click("text=Many at once")
    tiles = page.locator("#many-grid .tile")
    tiles.first.click()
    assert tiles.count() == 30
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert page.locator("#many-grid [aria-pressed=true]").count() == 2
    assert "28" in page.inner_text("#many-accept")
    backend.refusals["accept"] = [(500, {"message": "a fault"})]
    page.keyboard.press("Enter")
    page.get_by_text("a fault").wait_for()
    assert page.locator("#many-grid [aria-pressed=true]").count() == 2
    page.keyboard.press("Enter")
    page.get_by_text("28 accepted").wait_for()
    name, body = decisions(backend)[-1]
    assert name == "accept" and body["release"] == [1, 2] and len(body["items"]) == 28
    assert tiles.count() == 2
    page.click("text=One by one")
    wait_for_image(page, 1)
    held = [body["held"] for name, body in backend.posts if name == "next"]
    assert held.count([]) == 2  # at first, and now: the marked ones come before others
    page.click("text=Many at once")
    refusal = {"step": 1, "accepted": 1, "refused": [{"id": 1, "message": "taken"}]}
    backend.refusals["accept"] = [(200, refusal)]
    page.click("#many-accept")
    page.get_by_text("1 not accepted: taken").wait_for()
    page.click("#view-many >> text=Undo")
    page.get_by_text("The last step is taken back.").wait_for()
    assert not backend.labels and tiles.count() == 30 and page.inner_text("#left") == "30"


def test_characters_of_one_class_are_checked(opened, backend):
    page = opened(backend, "characters")
    tiles = page.locator("#characters-grid .tile")
    tiles.first.click()
    count = tiles.count()
    assert page.inner_text("#character") == "2"
    assert page.get_by_role("button", name=f"2 {count}").count() == 1
    page.keyboard.press("Enter")
    page.get_by_text("3 images are complete").wait_for()
    body = dict(decisions(backend))["characters/accept"]
    assert body["character"] == "2" and len(body["wrong"]) == 1 and len(body["right"]) == count - 1
    page.get_by_role("button", name=re.compile("^b ")).click()
    page.locator("#character", has_text="b").wait_for()


ROUNDS = [
    {"old_right": None, "new_right": 35, "p_value": None, "installed": True},
    {"old_right": 30, "new_right": 39, "p_value": 0.01, "installed": True},
    {"old_right": 38, "new_right": 39, "p_value": 0.9, "installed": True},
    {"old_right": 39, "new_right": 28, "p_value": 0.002, "installed": False},
]


def test_a_training_is_started_and_watched(opened, backend):
    fixed = {"date": "2026-11-27", "train_images": 160, "test_images": 40, "seconds": 120}
    backend.rounds = [{**fixed, "round": k, "message": "m", **r} for k, r in enumerate(ROUNDS, 1)]
    backend.refusals["train"] = [(422, {"error": "too_few", "message": "label 60 images first"})]
    page = opened(backend, "train")
    page.get_by_text("New labels: 130").wait_for()
    rows = page.locator("#rounds tr").all_inner_texts()[1:]
    words = ("worse (p = 0.002), therefore not used", "no clear", "better (p = 0.010)", "first")
    assert all(word in row for word, row in zip(words, rows, strict=True))
    assert "88 % (35 / 40)" in rows[3]
    assert page.is_disabled("#train-stop") and page.is_hidden("#curve") and backend.polls == 1
    page.click("#train-start")
    page.get_by_text("label 60 images first").wait_for()
    page.click("#train-start")
    page.get_by_text("Training: 400 / 1000 (1:15)").wait_for()
    assert page.locator("#train-progress").evaluate("bar => bar.value") == 400
    page.locator("#curve").wait_for()
    assert "loss 0.22" in page.inner_text("#train-lines")
    page.click("#train-stop")
    page.locator("#curve").wait_for(state="hidden")
    assert not backend.round["running"] and page.is_disabled("#train-stop")
    page.get_by_text("The round was stopped, and goes on from there.").wait_for()
    assert page.inner_text("#train-start") == "Go on"
    polls = backend.polls
    page.wait_for_timeout(1100)
    assert backend.polls == polls  # only while one runs


def test_an_image_is_chosen_pasted_or_fetched_and_explained(opened):
    backend = FakeBackend(remote=False)
    page = opened(backend, "try")
    assert page.is_hidden("#fetch")
    file = {"name": "a.png", "mimeType": "image/png", "buffer": drawn("ab3d")}
    page.set_input_files("#file", files=[file])
    page.wait_for_selector(".reading")
    assert backend.posts[-1] == ("try", drawn("ab3d"))
    assert page.inner_text("#answer").split() == ["ab3d", "57", "%"]
    assert page.locator(".reading b").all_inner_texts() == list("ab3d")
    assert "8 2 %" in page.locator(".reading").first.inner_text()
    column = "canvas => canvas.getContext('2d').getImageData({}, 2, 1, 1).data[3]"
    heat = page.locator("#picture canvas")
    assert heat.evaluate(column.format(5)) > 100  # at first that of the least certain, the third
    page.locator(".reading").first.focus()
    assert heat.evaluate(column.format(1)) > 100 and heat.evaluate(column.format(5)) == 0
    backend.refusals["try"] = [(422, {"error": "unreadable", "message": "not an image"})]
    page.evaluate(GIVE, {"kind": "paste", "file": "pasted"})
    page.get_by_text("not an image").wait_for()
    page.evaluate(GIVE, {"kind": "drop", "file": "dropped"})
    wait_for(page, lambda: ("try", b"dropped") in backend.posts)
    assert ("try", b"pasted") in backend.posts
    backend.state["remote"] = True
    page.reload()
    page.click("#fetch")
    wait_for(page, lambda: backend.posts[-1] == ("fetch", {"from": "remote"}))
    page.click("#practice")
    page.get_by_text("1 of 1 right (100 %)").wait_for()
    backend.reads = "xb3d"
    page.locator("#verdict", has_text="Wrong: it is ab3d").wait_for()
    page.get_by_text("1 of 2 right (50 %)").wait_for()
    page.click("#practice")
    count = len(backend.posts)
    page.wait_for_timeout(800)
    assert len(backend.posts) == count


NAMELESS = """elements => elements
    .filter((e) => !(e.ariaLabel || e.innerText || e.labels?.length))
    .filter((e) => !(e.alt || e.querySelector("img")?.alt))
    .filter((e) => e.getAttribute("alt") !== "")
    .map((e) => e.outerHTML)"""


def test_chinese_on_a_phone_in_the_dark_and_all_has_a_name(opened, backend):
    options = {"locale": "zh-CN", "color_scheme": "dark"}
    page = opened(backend, viewport={"width": 375, "height": 700}, **options)
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    assert "确认" in page.inner_text("#accept") and "97 %" in page.inner_text("#facts")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(22, 24, 28)"
    for view in ("one", "many", "characters", "train", "try"):
        page.goto(re.sub("#.*", f"#{view}", page.url))
        page.wait_for_selector(f"#view-{view}:not([hidden])")
        if view in ("many", "characters"):
            page.wait_for_selector(f"#view-{view} .tile")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, view
        used = page.locator(":is(button, input, progress, img):visible")
        assert used.evaluate_all(NAMELESS) == []


def test_texts_exist_in_both_languages_and_are_used():
    texts = (PAGE / "static" / "texts.js").read_text(encoding="utf-8")
    keys = re.findall(r"(\w+): \[", texts)
    page = (PAGE / "templates" / "label.html").read_text(encoding="utf-8")
    page += "".join(file.read_text(encoding="utf-8") for file in (PAGE / "static").glob("*.js"))
    page = page.replace(texts, "")
    built = ("error_", "phase_")
    assert len(keys) == len(set(keys)) and len(keys) > 60
    assert [k for k in keys if not k.startswith(built) and f'"{k}"' not in page] == []
    for entry in re.findall(r"\w+: \[(.*?)\](?=,)", texts, re.DOTALL):
        english, chinese = re.findall(r'"([^"]*)"', entry)
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", chinese))
