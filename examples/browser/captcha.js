// What a program in JavaScript does around an exported model, in browsers and in Node alike.

/** Read what an ONNX file says of its model; `bytes` is a Uint8Array. Throws for other files. */
export function readModel(bytes) {
  try {
    return readMetadata(bytes);
  } catch (error) {
    throw new Error(`not a whole model that export_model.py wrote (${error.message})`);
  }
}

function readMetadata(bytes) {
  const said = {};
  for (const pair of fields(bytes, 14)) {  // metadata_props of ModelProto: key is 1, value 2
    const [key, value] = [1, 2].map((number) => new TextDecoder().decode(fields(pair, number)[0]));
    said[key] = value;
  }
  for (const key of ["char_set", "image_width", "image_height"]) {
    if (!said[key]) throw new Error(`it does not say its ${key}`);
  }
  return {
    charSet: JSON.parse(said.char_set),
    width: Number(said.image_width),
    height: Number(said.image_height),
    channels: said.input === "rgb" ? 3 : 1,
    resize: said.resize,
    accuracy: Number(said.accuracy),
  };
}

/** Return the fields of this number in a protobuf message, those that are bytes or messages. */
function fields(bytes, wanted) {
  const found = [];
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (!(byte & 128)) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag % 8;
    if (![0, 1, 2, 5].includes(kind)) throw new Error("not an ONNX file");
    if (kind === 0) varint();
    else {
      const length = kind === 2 ? varint() : kind === 1 ? 8 : 4;
      if (tag === wanted * 8 + 2) found.push(bytes.subarray(at, at + length));
      at += length;
    }
  }
  if (at > bytes.length) throw new Error("not a whole ONNX file");
  return found;
}

/** Return an image as the model takes it, a Uint8Array, from its RGBA bytes; its shape is dims. */
export function toPixels(rgba, width, height, model) {
  if (width !== model.width || height !== model.height) {
    throw new Error(`image of ${width}x${height}, expected ${model.width}x${model.height}`
      + (model.resize ? ": resize it before" : ""));
  }
  const { channels } = model;
  const pixels = new Uint8Array(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    const alpha = rgba[4 * i + 3];
    const onWhite = (channel) => Math.round((rgba[4 * i + channel] * alpha + 255 * (255 - alpha)) / 255);
    const r = onWhite(0), g = onWhite(1), b = onWhite(2);
    if (channels === 3) pixels.set([r, g, b], 3 * i);
    else pixels[i] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;  // ITU-R BT.601, as Pillow
  }
  return pixels;
}

/** Return the shape of one image in a batch. */
export const dims = ({ height, width, channels }) => [1, height, width, ...(channels === 3 ? [3] : [])];

/** Return text, confidence and each character's confidence, from what the session returned. */
export function readAnswer({ probabilities, char_ids: charIds, confidence }, model) {
  const [, , classes] = probabilities.dims;
  const ids = [...charIds.data].filter((id) => id >= 0);
  const shares = ids.map((id, position) => probabilities.data[position * classes + id]);
  // That the text ends here is part of its last character's; the end is the class after char_set.
  if (classes > model.charSet.length && ids.length < charIds.data.length) {
    shares[ids.length - 1] *= probabilities.data[(ids.length + 1) * classes - 1];
  }
  return { text: ids.map((id) => model.charSet[id]).join(""), confidence: confidence.data[0], shares };
}
