// View "train": start and stop a round, and see how it goes. It polls only while one runs.
import { api, byId, make, percent, refresh, say, saying, t } from "./shared.js";

const POLL_MS = 1000;
const CHANCE = 0.05; // a difference with a smaller p value is none
const COLUMNS = ["round", "date", "train_images", "before", "after", "comparison", "time"];
let isOpen = false, wasRunning = false;
let timer;

const load = saying(async () => {
  clearTimeout(timer);
  const answer = await api("api/train");
  show(answer);
  if (answer.running && isOpen) timer = setTimeout(load, POLL_MS);
  if (wasRunning && !answer.running) refresh();
  wasRunning = answer.running;
});

const send = saying(async (path) => {
  await api(path, {});
  say("");
  await load();
});

function show({ running, round, curve, lines, new_labels: n, rounds, error }) {
  byId("new-labels").textContent = t("new_labels", { n });
  byId("train-start").disabled = running;
  byId("train-stop").disabled = !running;
  byId("train-progress").hidden = byId("train-phase").hidden = !running;
  if (running && round) {
    const { step, steps, phase, seconds } = round;
    const values = { phase: t(`phase_${phase}`), step, steps, time: duration(seconds) };
    byId("train-phase").textContent = t(steps ? "step_of" : "phase_time", values);
    Object.assign(byId("train-progress"), { max: steps || 1, value: step });
    if (!steps) byId("train-progress").removeAttribute("value"); // it moves, and promises nothing
  }
  byId("curve").replaceChildren(...(curve?.step?.length ? [drawn(curve)] : []));
  const head = rounds.length ? COLUMNS.map((name) => t(name)) : [t("no_rounds")];
  byId("rounds").replaceChildren(row("th", head), ...[...rounds].reverse().map(roundRow));
  byId("train-lines").textContent = lines.join("\n");
  byId("train-lines").scrollTop = byId("train-lines").scrollHeight;
  if (error) say(error, true);
}

const row = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, {}, String(text))));
const duration = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

function roundRow(round) {
  const { test_images: n, old_right: old, new_right: after } = round;
  const accuracy = (right) => t("right_of", { share: percent(n ? right / n : 0), right, n });
  const cells = [round.round, round.date, round.train_images, old === null ? "–" : accuracy(old),
    accuracy(after), compared(round), duration(round.seconds)];
  return Object.assign(row("td", cells), { title: round.message });
}

function compared({ old_right: old, new_right: right, p_value: p, installed }) {
  if (old === null || p === null) return t(!installed ? "not_used" : "first");
  const kind = !installed ? "worse" : right > old && p < CHANCE ? "better" : "not_worse";
  return t(kind, { p: Math.max(p, 0.001).toFixed(3) });
}

function svg(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/** The curve as an SVG of 480 x 200, with both axes named. */
function drawn({ step, train: ofTrain, test: ofTest }) {
  const left = 48, right = 470, bottom = 160, height = 138;
  const last = Math.max(...step, 1);
  const end = { x: right, y: 176, "text-anchor": "end" };
  const x = (value) => left + ((right - left) * value) / last;
  const y = (share) => bottom - height * share;
  const named = { role: "img", "aria-label": t("images_right") };
  const picture = svg("svg", { viewBox: "0 0 480 200", ...named });
  picture.append(svg("text", { x: left, y: 12 }, t("images_right")),
    svg("text", { x: left, y: 176 }, t("step")), svg("text", end, last));
  for (const share of [0, 0.5, 1])
    picture.append(svg("text", { ...end, x: left - 6, y: y(share) + 4 }, percent(share)),
      svg("line", { x1: left, x2: right, y1: y(share), y2: y(share), class: "rule" }));
  Object.entries({ train: ofTrain, test: ofTest }).forEach(([name, values], k) => {
    const points = step.map((s, i) => (values[i] === null ? "" : `${x(s)},${y(values[i])}`));
    const from = left + 200 * k;
    picture.append(svg("polyline", { points: points.join(" "), class: name }),
      svg("line", { x1: from, x2: from + 28, y1: 192, y2: 192, class: name }),
      svg("text", { x: from + 34, y: 196 }, t(`${name}_images`)));
  });
  return picture;
}

byId("train-start").onclick = () => send("api/train");
byId("train-stop").onclick = () => send("api/train/stop");
export const train = {
  open() { isOpen = true; load(); },
  close() { isOpen = false; clearTimeout(timer); },
};
