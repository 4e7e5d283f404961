// Print the text of captcha images, and how sure the model is.
//
//     node recognize.mjs [--wasm] MODEL.onnx IMAGE...
//
// With --wasm it runs in onnxruntime-web, which needs no program of this machine's kind.
// Transparent parts are put on white; an image of another size than the model's is refused.
import { readFile } from "node:fs/promises";
import sharp from "sharp";
import { dims, readAnswer, readModel, toPixels } from "../browser/captcha.js";

const args = process.argv.slice(2);
const wasm = args[0] === "--wasm" && args.shift();
const [modelFile, ...images] = args;
if (!images.length) {
  console.error("node recognize.mjs [--wasm] MODEL.onnx IMAGE...");
  process.exit(2);
}
process.env.ORT_DISABLE_TELEMETRY = "1"; // else onnxruntime reports to its makers since 1.29
const ort = await import(wasm ? "onnxruntime-web" : "onnxruntime-node");
if (wasm) ort.env.wasm.numThreads = 1;
let model, session;
try {
  const bytes = await readFile(modelFile);
  model = readModel(bytes);
  session = await ort.InferenceSession.create(bytes);
} catch (error) {
  console.error(`${modelFile}: ${error.message}`);
  process.exit(1);
}

for (const file of images) {
  try {
    // Turned as its EXIF data say, and no colour profile applied: as the training reads images.
    const image = sharp(file, { ignoreIcc: true }).autoOrient().toColourspace("srgb").ensureAlpha();
    const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
    const pixels = toPixels(data, info.width, info.height, model);
    const outputs = await session.run({ image: new ort.Tensor("uint8", pixels, dims(model)) });
    const answer = readAnswer(outputs, model);
    console.log(`${file}\t${answer.text}\t${answer.confidence.toFixed(4)}`);
  } catch (error) {
    console.error(`${file}: ${error.message}`);
    process.exitCode = 1;
  }
}
