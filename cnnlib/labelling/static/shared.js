// What all views share: texts, requests, messages, and the progress at the top.
import { TEXTS } from "./texts.js";

const CHINESE = navigator.language.toLowerCase().startsWith("zh");
const REFRESH_MS = 1500; // after the last change
const TOKEN = document.querySelector("meta[name=label-token]").content;
export const labeller = sessionStorage.getItem("labeller") // one for each tab
  || crypto.getRandomValues(new Uint32Array(4)).join("-");
sessionStorage.setItem("labeller", labeller);

export const byId = (id) => document.getElementById(id);
/** In percent; nothing is rounded up to 100, or down to 0. */
export const percent = (share) => (share > 0 && share < 0.005 ? "< 1 %"
  : `${share > 0.99 ? Math.floor(1000 * share) / 10 : Math.round(100 * share)} %`);
export const t = (key, values = {}) =>
  TEXTS[key][CHINESE ? 1 : 0].replace(/\{(\w+)\}/g, (_, name) => values[name]);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Write the texts into the elements that name them. */
export function translatePage() {
  document.documentElement.lang = CHINESE ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]"))
    element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]"))
    element.setAttribute("aria-label", t(element.dataset.label));
}

/** GET, or POST where there is a body (an object or a file). Throws an Error for people, with
 *  its status (0: no connection). */
export async function api(path, body) {
  const headers = { "X-Label-Token": TOKEN };
  if (!(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  const response = await fetch(path, body && { method: "POST", headers, body }).catch(() => {
    isAway = true;
    refreshSoon();
    throw Object.assign(new Error(t("no_connection")), { status: 0 });
  });
  const answer = await response.json().catch(() => null);
  if (body && answer?.counts) count(answer.counts);
  if (response.ok && answer) return answer;
  const name = `error_${answer?.error}`;
  const text = name in TEXTS ? t(name, limits()) : answer?.message || `HTTP ${response.status}`;
  throw Object.assign(new Error(text), { status: response.status });
}

export function say(text, isError = false) {
  byId("message").textContent = text;
  byId("message").classList.toggle("error", isError);
}

/** The same function, but an error becomes a message, and null is returned. */
export const saying = (act) => (...values) =>
  act(...values).catch((error) => { say(error.message, true); return null; });

export const state = { char_set: [], min_captcha: 1, max_captcha: 99, counts: {} };
export const limits = () => ({ min: state.min_captcha, max: state.max_captcha });
let timer;
let isAway = false; // the server: it is asked again and again
let suggestions = ""; // of which model, and whether they are still being made

export const refresh = saying(async () => {
  clearTimeout(timer);
  Object.assign(state, await api("api/state"));
  showProgress();
  if (isAway) document.dispatchEvent(new Event("connected"));
  isAway = false;
  const isReading = state.reading?.done < state.reading?.of;
  const now = `${state.model?.step} ${isReading}`;
  if (suggestions && suggestions !== now) document.dispatchEvent(new Event("suggestions"));
  suggestions = now;
  if (isReading || !state.model) refreshSoon(); // a model may be being loaded: ask again
});

function refreshSoon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, REFRESH_MS);
}

/** Show what the server counts after a step; what takes longer to find out follows. */
function count(counts) {
  Object.assign(state, { counts });
  showProgress();
  refreshSoon();
}

function showProgress() {
  const { name, counts, images_per_hour: speed, agreement, second_readings: second } = state;
  const { labelled, waiting: left } = counts;
  for (const [id, value] of Object.entries({ name, labelled, left, "an-hour": speed ?? "–" }))
    byId(id).textContent = value;
  const facts = [t(state.model ? "not_compared" : "no_model")];
  if (state.model && agreement?.of) {
    const ends = { low: Math.round(100 * agreement.low), high: percent(agreement.high) };
    facts[0] = t("agreement", { ...agreement, ...ends });
  }
  if (second?.of)
    facts.push(t("second_readings", { ...second, share: percent(second.different / second.of) }));
  if (state.reading?.done < state.reading?.of) facts.push(t("suggestions", state.reading));
  if (counts.unusable) facts.push(t("unusable", { n: counts.unusable, reason: state.unusable_reason }));
  if (state.problem) facts.push(state.problem); // why there are no suggestions
  byId("facts").textContent = facts.join(" ");
}
