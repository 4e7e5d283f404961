// View "one": an image at a time, accepted or corrected. Labels are sent behind the scenes.
import { cellsOf, Field, isDoubtful, textOf } from "./field.js";
import { agreeToAdd, api, byId, countLabelled, labeller, limits, make, say, saying, state, t }
  from "./shared.js";

const AHEAD = 10; // images that are decoded before they are needed
const HASTE_MS = 300; // an Enter so soon after going on by itself was meant for the image before
const MODIFIERS = ["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock"];

const input = byId("text");
const stage = byId("stage");
const field = new Field(input, byId("boxes"), () => { if (byId("auto").checked) accept(true); });
const outbox = []; // what the server has not confirmed, oldest first
let items = []; // the first is shown
let keys = 0; // pressed for the image that is shown
let actedAt = 0; // when the last key or button was pressed
let wentOnAt = -HASTE_MS; // when the page last went on by itself
let isOpen = false, isAsking = false, isSending = false, isUndoing = false;
let isStale = false, isAtEnd = false;
window.labelling = { lastLatencyMs: null };

function post(path, body, item) {
  return new Promise((resolve, reject) => {
    outbox.push({ path, body: { labeller, ...body }, item, resolve, reject });
    showUnsent();
    sendAll();
  });
}

function showUnsent() {
  byId("unsent").textContent = outbox.length;
  byId("unsent-box").hidden = outbox.length < 2; // one is always under way
}

async function sendAll() {
  if (isSending) return;
  isSending = true;
  while (outbox.length) {
    try {
      const answer = await api(outbox[0].path, outbox[0].body);
      outbox.shift().resolve(answer);
    } catch (error) {
      // Without a connection all come back, the oldest last and so in front.
      const failed = error.status ? [outbox.shift()] : outbox.splice(0).reverse();
      for (const task of failed) task.reject(error);
    }
    showUnsent();
  }
  isSending = false;
}

/** Send what was decided about the image that is shown, and show the next one. */
function decide(path, body = {}) {
  if (!items.length || isUndoing) return;
  const item = items.shift();
  Object.assign(item, { draft: field.cells, message: "" });
  say("");
  if (!item.isTaken) deliver(path, body, item); // before more are asked for, so that it is held
  show();
}

async function deliver(path, body, item) {
  try {
    const answer = await post(path, { id: item.id, ...body }, item);
    countLabelled(path === "api/label" ? 1 : 0);
    if (answer.second) showSecond(item, answer.second.earlier, body.text);
  } catch (error) {
    const isNew = error.code === "new_characters";
    if (isNew && (await agreeToAdd(error.answer.characters)))
      return deliver(path, { ...body, accept_new: true }, item);
    // Sent again it would be refused again: Enter goes on.
    const isTaken = [404, 409].includes(error.status);
    Object.assign(item, { isTaken, message: error.message });
    say(error.message, true);
    // Not under the fingers of somebody who types another text already.
    items.splice(keys && items.length ? 1 : 0, 0, item);
    if (items[0] === item) show();
  }
}

async function accept(isByItself = false) {
  if (!items.length || isUndoing) return;
  if (!isByItself && performance.now() - wentOnAt < HASTE_MS) return;
  const item = items[0];
  field.commit();
  if (items[0] !== item) return; // it was full then, and went on by itself
  const text = textOf(field.cells);
  const { min, max } = limits();
  if (field.cells.length < min || field.cells.length > max)
    return say(t("error_length", { min, max }), true);
  // Asked before the next image comes: a question in the midst of typing would be answered by it.
  const unknown = [...new Set(text)].filter((character) => !state.char_set.includes(character));
  if (unknown.length && !(await agreeToAdd(unknown))) return input.focus();
  if (isByItself) wentOnAt = performance.now();
  decide("api/label", { text, keys: Math.max(keys, 1), accept_new: unknown.length > 0 });
}

/** Undo the last step; the answer has its images with the labels that they had. */
export const undoStep = () => post("api/undo", {});

async function undo() {
  if (isUndoing) return;
  isUndoing = true; // an Enter meanwhile would be for the image that is coming
  const answer = await saying(undoStep)();
  isUndoing = false;
  if (answer) takeBack(answer);
}

/** Show images again, before all others. */
export function takeBack({ items: undone, labels }) {
  if (items.length && keys) items[0].draft = field.cells;
  const ids = undone.map((item) => item.id);
  const others = items.filter((item) => !ids.includes(item.id));
  items = [...undone.map((item) => loaded(item, labels[item.id])), ...others];
  say("");
  show();
  countLabelled(0);
}

function loaded(item, label) {
  const image = make("img", { src: `api/image/${item.id}`, alt: t("image") });
  const ready = image.decode().catch(() => { item.message = t("no_image"); });
  return Object.assign(item, { image, ready, draft: label && cellsOf(label) });
}

async function refill() {
  if (isAsking || !isOpen || items.length > (isAtEnd ? 0 : AHEAD)) return;
  isAsking = true;
  const held = [...items, ...outbox.map((task) => task.item).filter(Boolean)];
  const body = { labeller, count: AHEAD, held: held.map((item) => item.id) };
  const answer = await saying(api)("api/next", body);
  isAsking = false;
  isAtEnd = !answer || answer.items.length < AHEAD;
  const isFirst = !items.length;
  if (answer) items.push(...answer.items.map((item) => loaded(item)));
  if (isFirst && items.length) show();
  else if (isFirst) {
    const again = make("button", { textContent: t("look_again"), onclick: refill });
    stage.replaceChildren(make("p", {}, answer ? t("all_done") : ""), again);
  }
}

function show() {
  refill();
  const item = items[0];
  keys = 0;
  for (const id of ["accept", "skip", "unreadable"]) byId(id).disabled = !item;
  field.fill(item ? item.draft || cellsOf(item.text, item.char_confidences) : []);
  byId("reading").textContent = described(field.cells);
  stage.replaceChildren(item ? item.image : make("p", {}, t("loading")));
  if (!item) return;
  fit();
  if (isOpen && !byId("dialog").open) input.focus({ preventScroll: true });
  const since = actedAt;
  item.ready.then(() => {
    if (items[0] === item && item.message) say(item.message, true);
    // The timer runs when the frame with the image has been painted.
    requestAnimationFrame(() => setTimeout(() => {
      if (since) window.labelling.lastLatencyMs = performance.now() - since;
    }));
  });
}

function described(cells) {
  const spaced = (some) => some.map((cell) => cell.character).join(" ");
  const doubtful = cells.filter(isDoubtful);
  const text = cells.length ? t("suggested", { text: spaced(cells) }) : "";
  return doubtful.length ? `${text} ${t("doubtful", { characters: spaced(doubtful) })}` : text;
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
  const close = () => { byId("notice").replaceChildren(); input.focus(); };
  const relabel = () => { close(); saying(post)("api/relabel", { id: item.id, text: now }); };
  byId("notice").replaceChildren(
    make("img", { src: item.image.src, alt: "" }),
    make("span", {}, t("second", { earlier, now })),
    make("button", { id: "keep", textContent: t("keep", { text: earlier }), onclick: close }),
    make("button", { id: "take", textContent: t("take", { text: now }), onclick: relabel }),
  );
}

const skip = () => decide("api/skip");
const setUnreadable = () => decide("api/unreadable");
const COMMANDS = { Enter: () => accept(), Escape: skip, F2: setUnreadable, ArrowUp: undo,
  "Shift+Enter": undo };

function keydown(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (!MODIFIERS.includes(event.key)) keys += 1;
  if (event.isComposing || event.keyCode === 229) return; // the input method's own
  const isElsewhere = event.target !== input && event.target.closest("button, a, input");
  const command = COMMANDS[(event.shiftKey ? "Shift+" : "") + event.key];
  if (command && !(isElsewhere && event.key === "Enter")) {
    event.preventDefault();
    if (!event.repeat) command();
  } else if (!isElsewhere && event.key !== "Tab") input.focus();
}

export const one = {
  open() {
    isOpen = true;
    byId("auto-label").hidden = state.min_captcha !== state.max_captcha;
    if (isStale) items = items.filter((item) => item.draft);
    isStale = isAtEnd = false;
    show();
  },
  close() {
    isOpen = false;
    if (items.length && keys) items[0].draft = field.cells;
  },
  keydown,
  /** Ask anew for images, since others come first now. */
  setStale() { isStale = true; },
};

const erase = () => field.erase(Math.min(field.at, field.cells.length - 1));
const BUTTONS = { accept: () => accept(), undo, skip, unreadable: setUnreadable, erase };
for (const [id, act] of Object.entries(BUTTONS)) byId(id).onclick = act;
// A click leaves the cursor in the text, and the keyboard on the glass where it is.
byId("view-one").addEventListener("mousedown", (event) => {
  if (event.target.closest("button")) event.preventDefault();
});
byId("auto").checked = localStorage.getItem("goOn") !== "no";
byId("auto").onchange = ({ target }) => {
  localStorage.setItem("goOn", target.checked ? "yes" : "no");
  input.focus();
};
document.addEventListener("suggestions", () => { // new ones: but what is looked at stays as it is
  items = items.filter((item, k) => k === 0 || item.draft);
  isAtEnd = false;
  refill();
});
for (const kind of ["keydown", "click"])
  document.addEventListener(kind, (event) => { actedAt = event.timeStamp; }, true);
new ResizeObserver(fit).observe(stage);
window.addEventListener("beforeunload", (event) => {
  if (!outbox.length) return;
  event.preventDefault();
  event.returnValue = true; // for older browsers
});
