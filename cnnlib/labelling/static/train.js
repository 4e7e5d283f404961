// View "train": start and stop a round, and see how it goes. It polls only while one runs.
import { api, byId, make, percent, say, saying, t } from "./shared.js";

const POLL_MS = 1000;
const CHANCE = 0.05; // a difference with a smaller p value is none
const COLUMNS = ["round", "date", "train_images", "before", "after", "comparison", "time"];
const curve = byId("curve");
let timer;

const load = saying(async () => {
  clearTimeout(timer);
  const answer = await api("api/train");
  show(answer);
  if (answer.running && !byId("view-train").hidden) timer = setTimeout(load, POLL_MS);
});

const send = saying(async (path) => {
  await api(path, {});
  say("");
  await load();
});

function show({ running, paused, round, lines, new_labels: n, rounds, error }) {
  byId("new-labels").textContent = t("new_labels", { n });
  byId("train-start").disabled = running;
  byId("train-start").textContent = t(paused ? "go_on" : "start");
  byId("train-stop").disabled = !running;
  byId("train-progress").hidden = !round?.steps;
  byId("train-phase").textContent = paused ? t("paused") : "";
  if (round) {
    const { step, steps, phase, seconds } = round;
    const place = steps ? `: ${step} / ${steps}` : "";
    byId("train-phase").textContent = `${t(`phase_${phase}`)}${place} (${duration(seconds)})`;
    Object.assign(byId("train-progress"), { max: steps || 1, value: step });
  }
  curve.src = `api/curve.png?${round?.step}`; // the browser asks again where the step is another
  const head = rounds.length ? COLUMNS.map((name) => t(name)) : [t("no_rounds")];
  byId("rounds").replaceChildren(row("th", head), ...[...rounds].reverse().map(roundRow));
  byId("train-lines").textContent = lines.join("\n");
  if (error) say(error, true);
}

const row = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, {}, String(text))));
const duration = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

function roundRow(round) {
  const { test_images: n, old_right: old, new_right: after } = round;
  const accuracy = (right) => `${percent(n ? right / n : 0)} (${right} / ${n})`;
  const before = old === null ? "–" : accuracy(old);
  return row("td", [round.round, round.date, round.train_images, before, accuracy(after),
    compared(round), duration(round.seconds)]);
}

function compared({ old_right: old, new_right: right, p_value: p, installed }) {
  if (old === null) return t("first");
  const kind = !installed ? "worse" : right > old && p < CHANCE ? "better" : "not_worse";
  return t(kind, { p: Math.max(p, 0.001).toFixed(3) });
}

curve.onload = curve.onerror = ({ type }) => { curve.hidden = type === "error"; }; // there is none
byId("train-start").onclick = () => send("api/train");
byId("train-stop").onclick = () => send("api/train/stop");
export const train = { open: load };
