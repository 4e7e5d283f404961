// View "one": an image at a time, accepted or corrected. Labels are sent behind the scenes.
import { cellsOf, Field, isDoubtful, textOf } from "./field.js";
import { api, byId, labeller, limits, make, refresh, say, saying, state, t } from "./shared.js";

const AHEAD = 10; // images that are decoded before they are needed
const HASTE_MS = 300; // an Enter so soon after going on by itself was meant for the image before
const ASK_AGAIN_MS = 3000; // for images, where there are none
const MODIFIERS = ["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock"];

const input = byId("text"), stage = byId("stage"), view = byId("view-one"), auto = byId("auto");
const field = new Field(input, byId("boxes"), () => { if (auto.checked) accept(true); });
const outbox = []; // what the server has not confirmed, oldest first
let items = []; // the first is shown
let keys = 0; // pressed for the image that is shown
let actedAt = 0; // when the last key or button was pressed
let wentOnAt = -HASTE_MS; // when the page last went on by itself
let isAsking = false, isUndoing = false, askingAgain;
window.labelling = { lastLatencyMs: null };

function post(path, body) {
  return new Promise((resolve, reject) => {
    outbox.push({ path, body: { labeller, ...body }, resolve, reject });
    if (outbox.length === 1) sendAll();
  });
}

async function sendAll() {
  while (outbox.length) {
    try {
      const answer = await api(outbox[0].path, outbox[0].body);
      outbox.shift().resolve(answer);
    } catch (error) {
      // Without a connection all come back, the oldest last and so in front.
      const failed = error.status ? [outbox.shift()] : outbox.splice(0).reverse();
      for (const task of failed) task.reject(error);
    }
  }
}

/** Send what was decided about the image that is shown, and show the next one. */
async function decide(path, body = {}) {
  if (!items.length || isUndoing) return;
  const item = items.shift();
  Object.assign(item, { draft: field.cells, message: "" });
  say("");
  const sent = post(path, { id: item.id, ...body }); // before more are asked for: it is held
  show();
  try {
    const { second } = await sent;
    if (second) showSecond(item, second.earlier, body.text);
  } catch (error) {
    say(error.message, true);
    if ([404, 409].includes(error.status)) return; // sent again it would be refused again
    item.message = error.message;
    // Not under the fingers of somebody who types another text already.
    items.splice(keys && items.length ? 1 : 0, 0, item);
    if (items[0] === item) show();
  }
}

async function accept(isByItself = false) {
  if (!items.length || isUndoing) return;
  if (!isByItself && performance.now() - wentOnAt < HASTE_MS) return;
  const [item] = items;
  field.commit();
  if (items[0] !== item) return; // it was full then, and went on by itself
  const text = textOf(field.cells);
  const { min, max } = limits();
  if (field.cells.length < min || field.cells.length > max)
    return say(t("error_length", { min, max }), true);
  const unknown = [...new Set(text)].filter((character) => !state.char_set.includes(character));
  if (unknown.length && !(await isAgreed(unknown))) return;
  if (isByItself) wentOnAt = performance.now();
  decide("api/label", { text, keys: Math.max(keys, 1), accept_new: true }); // it asked, if need be
}

/** Ask whether characters shall be added to the configuration. */
async function isAgreed(characters) {
  const dialog = byId("dialog");
  byId("question").textContent = t("new_characters", { characters: characters.join(" ") });
  dialog.returnValue = "no"; // so is Esc
  dialog.showModal();
  await new Promise((resolve) => { dialog.onclose = resolve; });
  if (dialog.returnValue === "yes") state.char_set.push(...characters);
  return dialog.returnValue === "yes";
}

/** Take back the last step, of whatever view: here its images come before all others. */
export async function undo() {
  if (isUndoing) return;
  isUndoing = true; // an Enter meanwhile would be for the image that is coming
  const answer = await saying(post)("api/undo", { lease: !view.hidden });
  isUndoing = false;
  if (!answer || view.hidden) return answer;
  keepDraft();
  const undone = answer.items.map((item) => {
    const label = answer.labels[item.id];
    const draft = label ? cellsOf(label) : cellsOf(item.text, item.char_confidences);
    return loaded({ ...item, draft });
  });
  const ids = undone.map(({ id }) => id);
  items = [...undone, ...items.filter(({ id }) => !ids.includes(id))];
  say("");
  show();
}

function keepDraft() { if (items.length && keys) items[0].draft = field.cells; }

function loaded(item) {
  const image = make("img", { src: `api/image/${item.id}`, alt: t("image") });
  const ready = image.decode().catch(() => { item.message = t("no_image"); });
  return Object.assign(item, { image, ready });
}

async function refill() {
  if (isAsking || view.hidden || items.length > AHEAD) return;
  isAsking = true;
  const held = [...items, ...outbox.map((task) => task.body)].map(({ id }) => id).filter(Boolean);
  const answer = await saying(api)("api/next", { labeller, count: AHEAD, held });
  isAsking = false;
  if (!answer) return;
  const wasEmpty = !items.length;
  items.push(...answer.items.map(loaded));
  if (wasEmpty && items.length) show();
  else if (wasEmpty) waitForImages();
}

/** Say why there is no image, and ask again: others give theirs back, and files are added. */
function waitForImages() {
  const text = t(state.counts.waiting ? "all_held" : "all_done");
  if (stage.textContent !== text) stage.replaceChildren(make("p", { role: "status" }, text));
  clearTimeout(askingAgain);
  askingAgain = setTimeout(() => refresh().then(refill), ASK_AGAIN_MS);
}

function show() {
  refill();
  const [item] = items;
  keys = 0;
  for (const id of ["accept", "skip", "unreadable"]) byId(id).disabled = !item;
  field.fill(item ? item.draft || cellsOf(item.text, item.char_confidences) : []);
  const spoken = (cell) => (isDoubtful(cell) ? t("doubtful", cell) : cell.character);
  byId("reading").textContent = field.cells.map(spoken).join(" ");
  stage.replaceChildren(item ? item.image : "");
  if (!item) return;
  fit();
  input.focus({ preventScroll: true });
  const since = actedAt;
  item.ready.then(() => {
    if (items[0] === item && item.message) say(item.message, true);
    // The timer runs when the frame with the image has been painted.
    requestAnimationFrame(() => setTimeout(() => {
      if (since) window.labelling.lastLatencyMs = performance.now() - since;
    }));
  });
}

/** Enlarge by a whole factor of the screen's pixels, so that all of the image's are as large. */
function fit() {
  if (!items.length) return;
  const { image, width, height } = items[0];
  const room = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  const ratio = window.devicePixelRatio;
  const factor = room * ratio >= 1 ? Math.floor(room * ratio) / ratio : room;
  Object.assign(image.style, { width: `${width * factor}px`, height: `${height * factor}px` });
}

function showSecond(item, earlier, now) {
  const key = (name) => make("kbd", {}, name);
  const close = () => { byId("notice").replaceChildren(); input.focus(); };
  const relabel = () => { close(); saying(post)("api/relabel", { id: item.id, text: now }); };
  byId("notice").replaceChildren(
    make("img", { src: item.image.src, alt: "" }),
    make("span", {}, t(now ? "second" : "second_unreadable", { earlier, now })),
    make("button", { id: "keep", onclick: close }, t("keep", { text: earlier }), " ", key("F3")),
  );
  const take = make("button", { id: "take", onclick: relabel }, t("take", { text: now }), " ", key("F4"));
  if (now) byId("notice").append(take);
}

const COMMANDS = { Enter: () => accept(), ArrowUp: undo, "Shift+Enter": undo,
  Escape: () => decide("api/skip"), F2: () => decide("api/unreadable"),
  F3: () => byId("keep")?.click(), F4: () => byId("take")?.click() };

export const one = {
  /** Ask again for all that nobody has typed in: other views change what comes first. */
  open() {
    byId("auto-label").hidden = state.min_captcha !== state.max_captcha;
    items = items.filter((item) => item.draft);
    show();
  },
  close: keepDraft,
  keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!MODIFIERS.includes(event.key)) keys += 1;
    if (event.isComposing || event.keyCode === 229) return; // the input method's own
    const isElsewhere = event.target !== input && event.target.closest("button, a, input");
    const command = COMMANDS[(event.shiftKey ? "Shift+" : "") + event.key];
    if (command && !(isElsewhere && event.key === "Enter")) {
      event.preventDefault();
      if (!event.repeat) command();
    } else if (!isElsewhere && event.key !== "Tab") input.focus();
  },
};

for (const button of view.querySelectorAll("[data-key]"))
  button.onclick = () => COMMANDS[button.dataset.key]();
// A click leaves the cursor in the text, and the keyboard on the glass where it is.
view.addEventListener("mousedown", (event) => {
  if (event.target.closest("button")) event.preventDefault();
});
auto.checked = localStorage.getItem("goOn") !== "no";
auto.onchange = () => {
  localStorage.setItem("goOn", auto.checked ? "yes" : "no");
  input.focus();
};
document.addEventListener("suggestions", () => { // new ones: but what is looked at stays as it is
  items = items.filter((item, k) => k === 0 || item.draft);
  refill();
});
for (const kind of ["keydown", "click"])
  document.addEventListener(kind, (event) => { actedAt = event.timeStamp; }, true);
new ResizeObserver(fit).observe(stage);
window.addEventListener("beforeunload", (event) => { if (outbox.length) event.preventDefault(); });
