// The page: takes a model and images, shows texts. Everything runs in this browser.
import { dims, readAnswer, readModel, toPixels } from "./captcha.js";

const RUNTIME = "./ort/ort.wasm.bundle.min.mjs";
const MODEL = "model.onnx";  // is taken where it is next to the page
const WORDS = {
  en: {
    loading: "loading the model …",
    noRuntime: "onnxruntime-web is not here: run npm install and npm run copy in this folder, then reload",
    noModel: "no model yet: drop one, such as model.onnx that export_model.py wrote",
    model: (name, { width, height, charSet, accuracy }) =>
      `${name}: images of ${width}x${height}, ${charSet.length} characters, ${percent(accuracy)} of its test images right`,
    answer: (confidence, ms) => `confidence ${percent(confidence)}, ${ms.toFixed(1)} ms`,
    noFile: "not a file: save the image, then drop it",
    noImage: "cannot be decoded: not an image, or damaged",
  },
  zh: {
    loading: "正在加载模型……",
    noRuntime: "缺少 onnxruntime-web：请在此文件夹中运行 npm install 和 npm run copy，然后刷新页面",
    noModel: "尚无模型：请拖入一个，例如 export_model.py 写出的 model.onnx",
    model: (name, { width, height, charSet, accuracy }) =>
      `${name}：图片 ${width}x${height}，${charSet.length} 个字符，测试集准确率 ${percent(accuracy)}`,
    answer: (confidence, ms) => `置信度 ${percent(confidence)}，${ms.toFixed(1)} 毫秒`,
    noFile: "不是文件：请先保存图片，再拖入",
    noImage: "无法解码：不是图片，或已损坏",
  },
};
const language = navigator.language.startsWith("zh") ? "zh" : "en";
const words = WORDS[language];
const [answers, drop, status] = ["answers", "drop", "model"].map((id) => document.getElementById(id));
let ort, loaded;  // loaded: a model and its session

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function added(parent, tag, text = "", name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  return parent.appendChild(element);
}

function say(text, name = "") {
  status.textContent = text;
  status.className = name;
}

/** Return the pixels of an image file as they are stored, RGBA; transparent parts on white. */
export async function decode(file) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(file, options).catch(() => {
    throw new Error(words.noImage);
  });
  const { width, height } = bitmap;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

async function run({ model, session }, pixels) {
  const image = new ort.Tensor("uint8", pixels, dims(model));
  return readAnswer(await session.run({ image }), model);
}

async function loadModel(name, buffer) {
  if (!ort) return;
  say(words.loading, "quiet");
  try {
    const bytes = new Uint8Array(buffer);
    const model = readModel(bytes);
    const next = { model, session: await ort.InferenceSession.create(bytes) };
    await run(next, new Uint8Array(dims(model).reduce((a, b) => a * b)));  // the first is slower
    loaded?.session.release();
    loaded = next;
    say(words.model(name, model));
  } catch (error) {
    say(`${name}: ${error.message}`, "error");
  }
}

async function recognise(file) {
  const row = document.createElement("div");
  row.className = "answer";
  answers.prepend(row);
  const picture = added(row, "img");
  picture.alt = file.name;
  picture.src = URL.createObjectURL(file);
  try {
    if (!loaded) throw new Error(ort ? words.noModel : words.noRuntime);
    const started = performance.now();
    const { data, width, height } = await decode(file);
    const answer = await run(loaded, toPixels(data, width, height, loaded.model));
    show(row, answer, performance.now() - started);
  } catch (error) {
    added(row, "div", `${file.name}: ${error.message}`, "error");
  }
}

function show(row, answer, ms) {
  const said = added(row, "div");
  added(said, "div", answer.text, "text");
  added(said, "div", words.answer(answer.confidence, ms), "quiet");
  const bars = added(row, "div", "", "bars");
  [...answer.text].forEach((character, k) => {
    const bar = added(bars, "div");
    bar.title = percent(answer.shares[k]);
    added(bar, "i").style.height = `${3 * answer.shares[k]}rem`;
    added(bar, "span", character);
  });
}

async function start() {
  say(words.loading, "quiet");
  try {
    ort = await import(RUNTIME);
  } catch {
    return say(words.noRuntime, "error");
  }
  ort.env.wasm.numThreads = 1;  // more would need headers of the server
  const response = await fetch(MODEL).catch(() => ({ ok: false }));
  if (response.ok) await loadModel(MODEL, await response.arrayBuffer());
  else say(words.noModel);
}

// One after the other: images wait for the model, and the last one is on top.
let queue = start();
function take(files) {
  for (const file of files) {
    const isModel = file.name.endsWith(".onnx");
    const work = async () => (isModel ? loadModel(file.name, await file.arrayBuffer()) : recognise(file));
    queue = queue.then(work);
  }
}

if (language === "zh") {
  document.documentElement.lang = "zh-CN";
  for (const element of document.querySelectorAll("[data-zh]")) element.textContent = element.dataset.zh;
}
document.getElementById("file").onchange = (event) => {
  take(event.target.files);
  event.target.value = "";  // the same file may be chosen again
};
document.onpaste = (event) => take(event.clipboardData.files);
// Anywhere on the page: the browser would leave it for the file.
document.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
document.ondragleave = () => drop.classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  else added(answers, "div", words.noFile, "answer error");
};
