// View "try": what the model reads in any image, how sure it is, and where it looked.
import { api, byId, make, percent, say, saying, state, t } from "./shared.js";

const PAUSE_MS = 700; // between two practice images, for the eyes
let isOpen = false, isPractising = false;
let run = 0;

const ask = saying(async (path, body) => {
  say("");
  const answer = await api(path, body);
  show(answer);
  return answer;
});

function show({ text, confidence, image, width, height, characters, answer }) {
  byId("explanation").hidden = false;
  const heat = make("canvas");
  byId("picture").replaceChildren(make("img", { src: image, alt: text }), heat);
  byId("picture").style.aspectRatio = `${width} / ${height}`;
  byId("answer").replaceChildren(make("strong", {}, text), ` ${percent(confidence)}`);
  byId("verdict").textContent = answer ? t(text === answer ? "right" : "wrong", { answer }) : "";
  byId("verdict").className = text === answer ? "right" : "error";
  byId("readings").replaceChildren(...characters.map((one) => reading(one, heat)));
  byId("heat-how").hidden = !characters.some((one) => one.attention);
  // At first where it looked for what it is least sure of.
  const least = [...characters].sort((a, b) => a.confidence - b.confidence)[0];
  if (least) drawHeat(heat, least.attention);
}

function reading({ character, confidence, runners_up: others, attention }, heat) {
  const bar = make("meter", { low: 0.5, high: 0.9, optimum: 1, value: confidence });
  const figure = make("div", { className: "reading", tabIndex: 0 }, make("b", {}, character), bar,
    ...[["", confidence], ...others.slice(0, 3)].map(([other, share], k) =>
      make("span", { className: k ? "quiet" : "" }, `${other} ${percent(share)}`)));
  figure.onmouseenter = figure.onfocus = () => drawHeat(heat, attention);
  return figure;
}

/** One pixel of the canvas a place of the map; the browser smooths it over the image. */
function drawHeat(canvas, rows) {
  if (!rows) return;
  Object.assign(canvas, { width: rows[0].length, height: rows.length });
  const context = canvas.getContext("2d");
  const most = Math.max(...rows.flat(), 1e-9);
  rows.forEach((row, y) => row.forEach((value, x) => {
    const heat = value / most;
    context.fillStyle = `hsla(${50 - 50 * heat}, 100%, 50%, ${0.7 * heat})`;
    context.fillRect(x, y, 1, 1);
  }));
}

async function practise() {
  setPractising(!isPractising);
  const own = (run += 1); // a pause of the run before may not have ended
  let right = 0;
  for (let of = 1; isPractising && own === run; of += 1) {
    const shown = await ask("api/fetch", { from: "practice" });
    if (!shown) return setPractising(false);
    right += shown.text === shown.answer ? 1 : 0;
    byId("tally").textContent = t("tally", { right, of, share: percent(right / of) });
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

function setPractising(on) {
  isPractising = on;
  byId("practice").textContent = t(on ? "practice_stop" : "practice");
  byId("practice").setAttribute("aria-pressed", String(on));
}

const read = (files) => (files.length ? ask("api/try", files[0]) : say(t("not_a_file"), true));
byId("file").onchange = ({ target }) => {
  read(target.files);
  target.value = ""; // the same file may be chosen again
};
document.addEventListener("paste", (event) => { if (isOpen) read(event.clipboardData.files); });
// Anywhere on the page: the browser would leave it for the image.
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (isOpen) read(event.dataTransfer.files);
});
byId("fetch-remote").onclick = () => ask("api/fetch", { from: "remote" });
byId("fetch-practice").onclick = () => ask("api/fetch", { from: "practice" });
byId("practice").onclick = practise;
export const tryIt = {
  open() {
    isOpen = true;
    setPractising(false);
    byId("fetch-remote").hidden = !state.remote;
    byId("fetch-practice").hidden = byId("practice").hidden = !state.practice;
  },
  close() { isOpen = isPractising = false; },
};
