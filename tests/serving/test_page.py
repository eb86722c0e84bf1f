"""Tests the page at the root of the server in headless Chromium."""

import base64
import contextlib
import io
import re
import shutil
import wave

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM or not DRIVER:
        pytest.skip("No Chromium with chromedriver on PATH (apt-get install chromium chromium-driver).")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the page: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
        "--no-first-run", "--disable-dev-shm-usage", "--window-size=1000,900",
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield found
    found.quit()


@pytest.fixture
def page(browser, server):
    """The page, freshly loaded, and what a user does with it."""
    opened = Page(browser)
    browser.get(f"http://127.0.0.1:{server.server.rest_port}/")
    opened.wait("document.querySelectorAll('nav button').length")
    yield opened
    wrong = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert all(":predict" in entry["message"] for entry in wrong), wrong  # Chromium logs rejected requests


class Page:
    def __init__(self, browser):
        self.browser = browser

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def run(self, script):
        return self.browser.execute_script(f"return {script}")

    def wait(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 20, 0.05).until(lambda _: self.run(condition))

    def choose(self, problem):
        self.find(f"[data-problem={problem}]").click()

    def type(self, text):
        self.run(f"document.getElementById('input-language').value = {text!r}")

    def upload(self, path):
        """Chooses the file of a problem with a single input."""
        self.find("#inputs [type=file]").send_keys(str(path))
        self.wait("shown.some((one) => one.value?.bytes) || document.querySelector('.error')")

    def choose_answers(self, count):
        self.find(f"#answers option:nth-child({count})").click()

    @contextlib.contextmanager
    def narrow(self):
        """As wide as a telephone."""
        size = self.browser.get_window_size()
        metrics = {"width": 375, "height": 700, "deviceScaleFactor": 1, "mobile": True}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        try:
            yield
        finally:
            self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            self.browser.set_window_size(size["width"], size["height"])

    def ask(self):
        self.find("#ask").click()
        self.wait("document.getElementById('answer').dataset.done")
        return self.find("#answer")


def test_every_problem_is_offered(page):
    titles = {b.get_attribute("title"): b.text for b in page.browser.find_elements("css selector", "nav button")}
    assert titles["wmt_en_de"] == "English → German" and titles["wsj_parsing"] == "Parse"
    assert {"coco", "imagenet", "wsj_speech"} <= set(titles)
    assert not {"tokens", "serving_default", "imagenet_classify"} & set(titles)
    assert "version 1" in page.find("#state").text


def test_it_asks_for_nothing_but_its_own_server(page, server):
    names = page.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert names and all(name.startswith(f"http://127.0.0.1:{server.server.rest_port}/v1/") for name in names)


def test_a_translation(page):
    page.choose("wmt_en_de")
    page.type("The <b>cat</b> sleeps.")
    assert page.ask().find_element("css selector", ".text").text == "v1: THE <B>CAT</B> SLEEPS."


def test_a_tree_is_drawn(page):
    page.choose("wsj_parsing")
    page.type("the dog runs")
    answer = page.ask()
    texts = [one.text for one in answer.find_elements("css selector", "svg text")]
    assert texts == ["S", "NP", "NN", "the", "NN", "dog", "NN", "runs"]
    assert len(answer.find_elements("css selector", "svg line")) == 7
    places = page.run("[...document.querySelectorAll('svg text')].map((t) => t.getBoundingClientRect().toJSON())")
    words = [place for place, text in zip(places, texts) if text in ("the", "dog", "runs")]
    assert len({word["y"] for word in words}) == 1
    assert words[0]["right"] < words[1]["left"] and words[1]["right"] < words[2]["left"]
    assert places[0]["bottom"] <= places[1]["top"] + 5


def test_a_question_in_the_address(page, server):
    page.browser.get(f"http://127.0.0.1:{server.server.rest_port}/?problem=wmt_en_de&text=a+%3Cb%3E")
    page.wait("document.getElementById('answer').dataset.done")
    assert page.find("#answer .text").text == "v1: A <B>"


def test_what_was_written_stays_when_the_problem_changes(page):
    page.choose("wmt_en_de")
    examples = page.run("controls.language.field.value")
    page.choose("wsj_parsing")
    assert page.run("controls.language.field.value") != examples  # the page's own sentence goes
    page.type("my own words")
    page.choose("wmt_en_de")
    assert page.run("controls.language.field.value") == "my own words"
    assert page.ask().find_element("css selector", ".text").text == "v1: MY OWN WORDS"
    assert page.find("#busy").text.endswith(" ms")
    page.choose("wsj_parsing")
    assert page.find("#busy").text == "" and page.find("#answer").text == ""  # the time goes with its answer


def test_a_tree_can_be_copied_and_is_named(page):
    page.choose("wsj_parsing")
    page.type("the dog")
    answer, tree = page.ask(), "(S (NP (NN the) (NN dog)))"
    assert answer.find_element("css selector", "code").text == tree
    assert answer.find_element("css selector", "svg").get_attribute("aria-label") == f"Parse tree {tree}"
    assert answer.find_element("css selector", ".scroll").get_attribute("tabindex") == "0"
    answer.find_element("css selector", ".brackets button").click()
    page.wait("document.querySelector('.brackets button').textContent !== 'Copy'")  # whether the browser lets it or not
    page.run("navigator.clipboard.writeText = () => Promise.reject(new Error('refused'))")
    answer.find_element("css selector", ".brackets button").click()
    page.wait("document.querySelector('.brackets button').textContent === 'Selected'")
    assert page.run("getSelection().toString()") == tree


def test_problems_stand_by_their_input_and_commands_without_training_are_marked(page, tmp_path):
    groups = {
        title: page.run(f"[...document.querySelectorAll('#group-{title} button')].map((one) => one.dataset.problem)")
        for title in ("text", "image", "audio")
    }
    assert groups["image"] == ["coco", "imagenet"]
    assert groups["text"] == ["questions_without_image", "wmt_en_de", "wsj_parsing"]  # the export says what each takes
    assert groups["audio"] == ["wsj_speech", "To-English/audio"]
    assert page.find("[data-problem='To-English/audio'] small").text == "zero-shot"
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 800, "NONE", ""))
        file.writeframes(bytes(1600))
    page.choose("wsj_speech")
    page.upload(tmp_path / "a.wav")
    page.find("[data-problem='To-English/audio']").click()  # the recording remains selected
    assert page.ask().text.startswith("To-English RIFF")


def test_bars_and_names_on_a_narrow_screen(page, tmp_path):
    Image.new("RGB", (40, 30), (0, 255, 0)).save(tmp_path / "green.png")
    page.choose("imagenet")
    page.upload(tmp_path / "green.png")
    with page.narrow():
        page.ask()
        widths = page.run("[...document.querySelectorAll('.bar span + span')].map((b) => b.getBoundingClientRect().width)")
        assert min(widths) > 200
        assert page.run("document.documentElement.scrollWidth") <= 375
    assert page.run("readable('n02084071 dog, domestic dog')") == "dog, domestic dog"
    assert page.run("readable('n02084071')") == "n02084071" and page.run("readable('cat')") == "cat"


def test_everything_to_press_has_a_name_and_headings_do_not_jump(page):
    unnamed = page.run(
        "[...document.querySelectorAll('button, select, textarea, input, [role=img], [role=group]')].filter((one) =>"
        "!(one.textContent.trim() || one.getAttribute('aria-label') || one.getAttribute('aria-labelledby')"
        " || (one.labels && one.labels.length))).map((one) => one.outerHTML)"
    )
    assert unnamed == []
    assert page.run("[...document.querySelectorAll('h1, h2')].map((one) => one.tagName)")[:2] == ["H1", "H2"]
    assert page.run("new Set([...document.querySelectorAll('[id]')].map((one) => one.id)).size") == page.run(
        "document.querySelectorAll('[id]').length"
    )


def test_axe_finds_nothing(page, tmp_path):
    """Deque's checks of accessibility."""
    selenium = pytest.importorskip("axe_core_python.selenium", reason="axe: pip install axe-core-python")
    Image.new("RGB", (40, 30), (0, 255, 0)).save(tmp_path / "green.png")
    axe = selenium.Axe()

    def findings():
        return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in axe.run(page.browser)["violations"]]

    assert findings() == []
    page.choose("wsj_parsing")
    page.type("the dog")
    page.ask()
    assert findings() == []
    page.choose_answers(2)
    page.ask()
    assert findings() == []
    page.choose("imagenet")
    page.upload(tmp_path / "green.png")
    page.ask()
    assert findings() == []


def test_numbers_that_json_lacks_are_replaced_and_text_is_not(page):
    text = r'{"a": [NaN,-Infinity, 1], "b": "x,NaN, [Infinity] \", Infinity", "c": Infinity}'
    found = page.browser.execute_async_script(
        "const url = URL.createObjectURL(new Blob([arguments[0]])); fetchJson(url).then(arguments[1]);", text
    )
    assert found == {"a": [None, None, 1], "b": 'x,NaN, [Infinity] ", Infinity', "c": None}


def test_several_answers_with_their_tokens(page):
    page.choose("wsj_parsing")
    page.type("the dog " + "supercalifragilistic" * 5)
    assert "beam search with at least 3 hypotheses" in page.find("#several").text
    assert page.run("[...document.getElementById('answers').labels].map((one) => one.textContent.trim().split(/\\s/)[0])") == [
        "Answers"
    ]
    assert page.ask().find_elements("css selector", "ol, .tokens") == []  # one is the signature's own
    page.choose_answers(2)
    assert page.find("#answer").text == ""
    with page.narrow():
        items = page.ask().find_elements("css selector", "li")
        assert page.run("document.documentElement.scrollWidth") <= 375
    assert len(items) == 2 and items[1].find_element("css selector", ".text").text.startswith("other (S (NP")
    assert [len(one.find_elements("css selector", "svg")) for one in items] == [1, 0]
    assert [one.find_element("css selector", ".note").text for one in items] == ["score -0.5000", "score -1.250"]
    shown = "[...document.querySelectorAll('li:nth-child(%d) .tokens > span')].map((one) => %s)"
    pieces = ["(S", "(NP", "(NN", "the)"]
    assert page.run(shown % (1, "one.textContent"))[:4] == [f"{piece} 75.0%" for piece in pieces]
    assert page.run(shown % (2, "one.title"))[:2] == ["25.0%, log-probability -1.39"] * 2
    shades = [page.run(shown % (place, "getComputedStyle(one).backgroundColor"))[0] for place in (1, 2)]
    opacities = [float(re.search(r"([.\d]+)\)$", shade)[1]) for shade in shades]
    assert opacities == pytest.approx([0.375, 0.125], abs=0.01)
    page.choose_answers(3)
    assert len(page.ask().find_elements("css selector", "li")) == 2  # there is no third one


def test_several_captions_and_answers_to_an_untrained_command(page, tmp_path):
    Image.new("RGB", (40, 30), (0, 255, 0)).save(tmp_path / "green.png")
    page.choose("imagenet")
    assert not page.find("#several").is_displayed()  # classes are ranked as they are
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 800, "NONE", ""))
        file.writeframes(bytes(1600))
    page.find("[data-problem='To-English/audio']").click()
    page.choose_answers(2)
    page.upload(tmp_path / "a.wav")
    items = page.ask().find_elements("css selector", "li")
    assert items[0].find_elements("css selector", "canvas") and items[0].find_element("css selector", ".text").text.startswith(
        "To-English RIFF"
    )


def test_an_export_without_several_answers_offers_none(page):
    page.run("most = mostAnswers({wmt_en_de: {}})")
    page.choose("wmt_en_de")
    assert page.run("most") == 1 and not page.find("#several").is_displayed()


def test_trees_are_told_from_text(page):
    assert page.run("parseTree('(S (NP (DT a)) (VP (VB b)))').children.map((c) => c.label).join()") == "NP,VP"
    for text in ("plain", "(S (NP a)", "(S a))", "(", "", "a (S b)"):
        assert page.run(f"parseTree({text!r})") is None


def test_a_caption_stands_under_its_picture_and_classes_are_bars(page, tmp_path):
    Image.new("RGB", (40, 30), (0, 255, 0)).save(tmp_path / "green.png")
    page.choose("coco")
    page.upload(tmp_path / "green.png")
    figure = page.ask().find_element("css selector", "figure")
    assert figure.find_element("css selector", "figcaption").text == "a picture of 0 255 0"
    assert page.run("document.querySelector('#answer img').naturalWidth") == 40
    assert page.run("[...document.images].filter((one) => one.offsetParent).length") == 1
    page.choose("imagenet")  # the image remains selected
    bars = page.ask().find_elements("css selector", ".bar")
    assert [bar.find_element("css selector", "span").text for bar in bars] == ["dog", "cat", "house"]
    widths = page.run("[...document.querySelectorAll('.bar i')].map((bar) => bar.getBoundingClientRect().width)")
    assert widths[0] > widths[1] == widths[2] > 0


def test_a_picture_of_another_format_goes_as_png(page, tmp_path):
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "p.bmp")
    page.choose("coco")
    page.upload(tmp_path / "p.bmp")
    assert page.run("controls.image.value.bytes[1]") == ord("P")
    assert page.ask().find_element("css selector", "figcaption").text == "a picture of 9 9 9"


def test_a_sound_is_transcribed_beside_its_spectrogram(page, tmp_path):
    tone = (8000 * np.sin(2 * np.pi * 2000 * np.arange(22050) / 22050)).astype("<i2")  # one second of 2 kHz
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setparams((2, 2, 22050, len(tone), "NONE", ""))
        file.writeframes(np.repeat(tone, 2).tobytes())
    page.choose("wsj_speech")
    page.upload(tmp_path / "tone.wav")
    answer = page.ask()
    assert answer.find_element("css selector", ".text").text == "16000 SAMPLES AT 16000"
    data = page.run("document.querySelector('#answer canvas').toDataURL()")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("L"), float)
    loudest = shown[:, 10:-10].mean(1).argmax()  # row 0 is 8 kHz, 256 rows
    assert abs((256 - loudest) * 8000 / 256 - 2000) < 100


def test_recording(page):
    page.choose("wsj_speech")
    record = page.find("#inputs button")
    record.click()
    page.wait("controls.audio.record.textContent === 'Stop'")
    page.browser.execute_async_script("setTimeout(arguments[0], 600)")
    record.click()
    page.wait("controls.audio.value !== null")
    assert page.run("new TextDecoder().decode(controls.audio.value.bytes.subarray(0, 4))") == "RIFF"
    words = page.ask().find_element("css selector", ".text").text.split()
    assert int(words[0]) > 3000 and words[-1] == "16000"


def test_errors_are_shown(page, tmp_path):
    page.choose("wmt_en_de")
    page.type("  ")
    assert page.ask().text == "Type a sentence first."
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    page.choose("coco")
    page.upload(tmp_path / "broken.png")
    assert page.ask().find_element("css selector", "[role=alert]").text
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    page.choose("wsj_speech")
    page.upload(tmp_path / "broken.wav")
    assert "broken.wav cannot be read" in page.find("#answer").text


def write_sound(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 800, "NONE", ""))
        file.writeframes(bytes(1600))
    return str(path)


def choose_files(page, **paths):
    for name, path in paths.items():
        page.find(f"#input-{name}").send_keys(str(path))
        page.wait(f"controls.{name}.value")


def test_problems_with_several_inputs_have_groups_of_their_own(page):
    groups = page.run(
        "[...document.querySelectorAll('nav [role=group]')].map((one) => [one.querySelector('h2').textContent,"
        "[...one.querySelectorAll('button')].map((button) => button.dataset.problem)])"
    )
    titles = [title for title, _ in groups]
    assert titles == ["Text", "Image", "Audio", "2 texts", "Image and audio", "Image and text", "Other"]
    assert [problems for _, problems in groups[3:6]] == [["compared"], ["judged"], ["questions"]]


def test_every_input_of_a_problem_is_sent_by_its_name(page, tmp_path):
    Image.new("RGB", (40, 30), (0, 255, 0)).save(tmp_path / "green.png")
    page.choose("questions")
    assert page.run("shown.map((one) => one.name)") == ["image", "language"]
    assert not page.find("#several").is_displayed()  # n_best takes a single input
    assert page.ask().text == "Choose an image first."
    choose_files(page, image=tmp_path / "green.png")
    assert page.ask().text == "Type a sentence first."
    page.find("#input-language").send_keys("which colour ?\n")  # Enter asks
    page.wait("document.querySelector('figcaption')")
    assert page.find("#answer figcaption").text == "which colour ? a picture of 0 255 0"
    assert page.run("[...document.images].filter((one) => one.offsetParent).length") == 1
    page.find("#input-language").clear()
    assert page.ask().text == "Type a sentence first."
    assert page.find("#inputs img").is_displayed()  # as the answer with the image is gone

    page.choose("compared")
    labels = [label.text for label in page.browser.find_elements("css selector", "#inputs label")]
    assert labels == ["Sentence", "Sentence 2"]
    page.find("#input-language").send_keys("a dog")
    assert page.ask().text == "Type sentence 2 first."
    page.find("#input-language_2").send_keys("a cat")
    assert page.ask().find_element("css selector", ".text").text == "a dog / a cat"


def test_classes_of_an_image_with_a_recording(page, tmp_path):
    Image.new("RGB", (40, 30), (0, 255, 0)).save(tmp_path / "green.png")
    page.choose("judged")
    choose_files(page, audio=write_sound(tmp_path / "a.wav"), image=tmp_path / "green.png")
    answer = page.ask()
    assert [bar.find_element("css selector", "span").text for bar in answer.find_elements("css selector", ".bar")][0] == "dog"
    assert answer.find_elements("css selector", "canvas") and answer.find_elements("css selector", "img")


def test_what_was_entered_stays_for_problems_with_other_inputs(page, tmp_path):
    Image.new("RGB", (40, 30), (0, 255, 0)).save(tmp_path / "green.png")
    page.choose("coco")
    choose_files(page, image=tmp_path / "green.png")
    page.choose("questions")
    assert page.run("controls.language.field.value") == ""  # the example of another problem goes
    page.find("#input-language").send_keys("my own words")
    page.choose("wsj_speech")
    page.choose("wmt_en_de")
    assert page.ask().find_element("css selector", ".text").text == "v1: MY OWN WORDS"
    page.choose("questions")
    assert page.find("#inputs .note").text == "green.png"
    assert page.ask().find_element("css selector", "figcaption").text == "my own words a picture of 0 255 0"


def test_a_recording_ends_when_its_problem_is_left(page):
    page.choose("judged")
    page.find("#inputs .control:nth-child(2) button").click()
    page.wait("controls.audio.recorder")
    page.browser.execute_async_script("setTimeout(arguments[0], 600)")
    page.choose("coco")
    page.wait("controls.audio.value")
    assert page.run("controls.audio.recorder") is None
    page.choose("judged")
    assert page.find("#inputs audio").is_displayed()


def test_a_dropped_file_goes_to_the_input_of_its_kind(page, tmp_path):
    """Or to the one that it is dropped on; here, the second image of a problem that the export does not have."""
    drop = (
        "((type, target) => { const data = new DataTransfer(), bytes = new Uint8Array([137, 80, 78, 71]);"
        "data.items.add(new File([bytes], 'dropped', {type}));"
        "target.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})); })"
    )
    page.run("choose({name: 'x', title: 'x', inputs: ['image', 'image_2', 'audio', 'language']})")
    page.run(drop + "('image/png', document.body)")
    page.wait("controls.image.value")
    page.run(drop + "('image/png', document.body)")  # the first one that has none
    page.wait("controls.image_2.value")
    page.run("forget(controls.image)")
    page.run(drop + "('image/png', controls.image_2.box)")
    page.wait("controls.image_2.value")
    assert page.run("[controls.image.value, controls.audio.value]") == [None, None]


def test_an_answer_to_earlier_inputs_is_not_shown(page, tmp_path):
    """The answer arrives after another image has been chosen."""
    for name, colour in (("green.png", (0, 255, 0)), ("red.png", (255, 0, 0))):
        Image.new("RGB", (40, 30), colour).save(tmp_path / name)
    page.choose("questions")
    page.type("which colour ?")
    choose_files(page, image=tmp_path / "green.png")
    page.run(
        "(() => { const answered = fetchJson, released = new Promise((done) => { window.release = done; });"
        "fetchJson = async (...of) => { const found = await answered(...of); await released; return found; }; })()"
    )
    page.find("#ask").click()
    choose_files(page, image=tmp_path / "red.png")
    page.run("release()")
    page.wait("!document.getElementById('ask').disabled")
    assert page.find("#answer").text == "" and page.find("#busy").text == ""
    assert page.ask().find_element("css selector", "figcaption").text == "which colour ? a picture of 255 0 0"


def test_several_inputs_on_a_narrow_screen_have_names(page, tmp_path):
    selenium = pytest.importorskip("axe_core_python.selenium", reason="axe: pip install axe-core-python")
    Image.new("RGB", (900, 300), (0, 255, 0)).save(tmp_path / "green.png")
    with page.narrow():
        for problem in ("questions", "compared", "judged"):
            page.choose(problem)
            if problem != "compared":
                choose_files(page, image=tmp_path / "green.png")
            if problem == "judged":
                choose_files(page, audio=write_sound(tmp_path / "a.wav"))
            for field in page.browser.find_elements("css selector", "#inputs textarea"):
                field.clear()
                field.send_keys("a dog")
            for answered in (False, True):
                if answered:
                    page.ask()
                assert page.run("document.documentElement.scrollWidth") <= 375
                found = selenium.Axe().run(page.browser)["violations"]
                assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
            named = "[...document.querySelectorAll('#inputs input, #inputs textarea')].map((one) => one.labels.length)"
            assert page.run(named) == page.run("shown.map(() => 1)")
        page.run("choose({name: 'x', title: 'x', inputs: ['audio', 'audio_2']})")
        buttons = [button.text for button in page.browser.find_elements("css selector", "#inputs button")]
        assert buttons == ["Record", "Record 2"]


class Looks:
    """What the page shows of the attention of an answer."""

    def __init__(self, page):
        self.page = page
        page.ask()
        page.find("#answer > div:not(.brackets) > button").click()
        page.wait("document.querySelector('.looked')")

    def choose_block(self, number):
        self.page.find(f"#answer option:nth-child({number})").click()

    @property
    def said(self):
        return self.page.find("#answer [role=status]").text

    def shades(self, selector, of):
        return self.page.run(f"[...document.querySelectorAll('{selector}')].map((one) => {of})")


def test_attention_to_the_words_of_a_text(page):
    from selenium.webdriver.common.keys import Keys

    page.choose("wmt_en_de")
    page.type("the small dog sleeps")
    looks = Looks(page)
    assert page.run("document.activeElement.name") == "token"  # as the button is gone
    shown = page.browser.find_elements("css selector", ".looked label")
    assert [one.text for one in shown] == ["▁a", "▁b", "</s>"]
    assert looks.said == "▁a attends most to the (25.0%), small (25.0%), dog (25.0%)."  # the last block
    looks.choose_block(1)
    assert looks.said.startswith("▁a attends most to the (100.0%), small (0.0%)")
    page.find(".looked input").send_keys(Keys.ARROW_RIGHT)  # by keyboard
    assert looks.said.startswith("▁b attends most to small (100.0%)")
    titles = looks.shades(".sources > span", "one.title")
    assert titles == ["0.0%", "100.0%", "0.0%", "0.0%"]
    opacities = looks.shades(".sources > span", "getComputedStyle(one).backgroundColor")
    assert opacities == ["rgba(37, 99, 201, 0)", "rgba(37, 99, 201, 0.5)", *["rgba(37, 99, 201, 0)"] * 2]
    page.run("document.querySelectorAll('.looked label')[2].dispatchEvent(new PointerEvent('pointerenter'))")
    assert looks.said.startswith("</s> attends most to dog (100.0%)")
    assert looks.shades(".looked input", "one.checked") == [False, False, True]
    looks.choose_block(3)  # the mean of both: (1 + 1/4) / 2
    assert looks.said.startswith("</s> attends most to dog (62.5%), the (12.5%)")
    page.choose("wsj_parsing")
    assert page.find("#answer").text == ""


def test_attention_to_the_places_of_an_image_and_the_moments_of_a_recording(page, tmp_path):
    Image.new("RGB", (400, 300), (0, 255, 0)).save(tmp_path / "green.png")
    page.choose("coco")
    page.upload(tmp_path / "green.png")
    with page.narrow():
        looks = Looks(page)
        looks.choose_block(1)
        assert looks.said.startswith("▁a attends most to row 1, column 1 (100.0%)")
        picture, cover = looks.shades(".over > *", "one.getBoundingClientRect().toJSON()")
        assert cover == pytest.approx(picture) and cover["width"] == pytest.approx(4 / 3 * cover["height"], rel=0.01)
        assert page.run("document.documentElement.scrollWidth") <= 375
    assert [float(one) for one in looks.shades(".over rect", "one.getAttribute('fill-opacity')")] == [0, *[0.8] * 5]
    first = page.run("document.querySelector('.over rect').getBoundingClientRect().toJSON()")
    whole = page.run("document.querySelector('.over img').getBoundingClientRect().toJSON()")
    assert [first["width"] * 3, first["height"] * 2] == pytest.approx([whole["width"], whole["height"]])
    assert page.run("[...document.images].filter((one) => one.offsetParent).length") == 1

    page.choose("wsj_speech")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 16000, "NONE", ""))
        file.writeframes(bytes(32000))
    page.upload(tmp_path / "a.wav")
    looks = Looks(page)
    looks.choose_block(1)  # of four positions, the first two are the first half
    assert looks.said == "▁a attends most to 0.00 to 0.50 s (100.0%), 0.50 to 1.00 s (0.0%)."
    page.run("document.querySelectorAll('.looked label')[2].dispatchEvent(new PointerEvent('pointerenter'))")
    assert looks.said.startswith("</s> attends most to 0.50 to 1.00 s (100.0%)")
    assert len(page.browser.find_elements("css selector", "#answer canvas")) == 1


def test_attention_is_accessible_and_its_errors_leave_the_answer(page, tmp_path):
    selenium = pytest.importorskip("axe_core_python.selenium", reason="axe: pip install axe-core-python")
    Image.new("RGB", (400, 300), (0, 255, 0)).save(tmp_path / "green.png")
    page.choose("coco")
    page.upload(tmp_path / "green.png")
    page.choose("wsj_parsing")
    page.type("the dog")
    for problem in ("wsj_parsing", "coco"):
        page.choose(problem)
        Looks(page)
        found = selenium.Axe().run(page.browser)["violations"]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
    page.ask()
    page.run("(() => { fetchJson = () => Promise.reject(new Error('the server is busy')); })()")
    page.find("#answer button").click()
    page.wait("document.querySelector('#answer [role=alert]')")
    assert page.find("#answer [role=alert]").text == "the server is busy" and page.find("#answer button").is_enabled()
    assert page.find("#answer figcaption").text == "a picture of 0 255 0"


def test_attention_is_offered_only_where_there_is_some(page, tmp_path):
    Image.new("RGB", (40, 30), (0, 255, 0)).save(tmp_path / "green.png")
    page.choose("imagenet")
    page.upload(tmp_path / "green.png")
    assert page.ask().find_elements("css selector", "button") == []  # classes
    page.choose("questions")
    page.find("#input-language").send_keys("a dog")
    assert page.ask().find_elements("css selector", "button") == []  # two inputs
    page.run("(() => { looks = false; })()")
    page.choose("coco")
    assert page.ask().find_elements("css selector", "button") == []  # an export without the signature
