// View "try": what the model reads in any image, how sure it is, and where it looked.
import { api, byId, make, percent, say, saying, state, t } from "./shared.js";

const PAUSE_MS = 700; // between two practice images, for the eyes
const view = byId("view-try"), practice = byId("practice");
let right = 0, of = 0; // of the practice images
let timer;

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
  // At first where it looked for what it is least sure of.
  const [least] = [...characters].sort((a, b) => a.confidence - b.confidence);
  if (least) drawHeat(heat, least.attention);
}

function reading({ character, confidence, runners_up: others, attention }, heat) {
  const bar = make("meter", { low: 0.5, high: 0.9, optimum: 1, value: confidence });
  const figure = make("div", { className: "reading", tabIndex: 0 }, make("b", {}, character), bar,
    percent(confidence), ...others.slice(0, 3).map(([other, share]) =>
      make("span", { className: "quiet" }, `${other} ${percent(share)}`)));
  figure.onmouseenter = figure.onfocus = () => drawHeat(heat, attention);
  return figure;
}

/** One pixel of the canvas a place of the map; the browser smooths it over the image. */
function drawHeat(canvas, rows) {
  Object.assign(canvas, { width: rows[0].length, height: rows.length });
  const context = canvas.getContext("2d");
  rows.forEach((row, y) => row.forEach((heat, x) => {
    context.fillStyle = `hsla(${50 - 50 * heat}, 100%, 50%, ${0.7 * heat})`;
    context.fillRect(x, y, 1, 1);
  }));
}

async function practise() {
  const shown = await ask("api/fetch", { from: "practice" });
  if (!shown) practice.checked = false;
  if (!practice.checked) return;
  of += 1;
  right += shown.text === shown.answer ? 1 : 0;
  byId("tally").textContent = t("tally", { right, of, share: percent(right / of) });
  clearTimeout(timer); // of one who switched it off and on again
  timer = setTimeout(practise, PAUSE_MS);
}

practice.onchange = () => {
  clearTimeout(timer);
  right = of = 0;
  if (practice.checked) practise();
};
const read = ([file]) => file && ask("api/try", file);
byId("file").onclick = ({ target }) => { target.value = ""; }; // the same may be chosen again
byId("file").onchange = ({ target }) => read(target.files);
document.onpaste = (event) => { if (!view.hidden) read(event.clipboardData.files); };
// Anywhere on the page: the browser would leave it for the image.
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  if (!view.hidden) read(event.dataTransfer.files);
};
byId("fetch").onclick = () => ask("api/fetch", { from: "remote" });
export const tryIt = {
  open() { byId("fetch").hidden = !state.remote; },
  close() { practice.checked = false; },
};
