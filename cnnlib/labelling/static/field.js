// The text of an image, one box a character, over a real <input> that cannot be seen: so screen
// readers, input methods, keyboards on glass and the clipboard work as everywhere.
// The cursor is a block: the input has that character selected which the next key replaces.
import { limits, make, state } from "./shared.js";

const DOUBTFUL_BELOW = 0.9;

/** A text as [{character, confidence}]; what a person typed has confidence 1. */
export const cellsOf = (text, confidences = []) =>
  [...text].map((character, k) => ({ character, confidence: confidences[k] ?? 1 }));
export const isDoubtful = (cell) => cell.confidence < DOUBTFUL_BELOW;
export const textOf = (cells) => cells.map((cell) => cell.character).join("");

function cleaned(text) {
  const plain = text.normalize("NFC").replace(/\s/g, "");
  return [...(state.ignore_case ? plain.toLowerCase() : plain)];
}

export class Field {
  /** `whenFull` is called when the last character of a fixed length was typed. */
  constructor(input, boxes, whenFull) {
    Object.assign(this, { input, boxes, whenFull, cells: [], at: 0, holes: 0, before: null });
    const on = (name, act) => input.addEventListener(name, act);
    on("beforeinput", (event) => this.beforeInput(event));
    on("compositionstart", () => this.remember());
    on("input", (event) => this.take(event.isComposing, false));
    on("compositionend", () => this.commit());
    on("keydown", (event) => this.move(event));
    on("paste", (event) => this.paste(event));
    on("click", (event) => this.goTo(this.boxUnder(event.clientX)));
    on("focus", () => setTimeout(() => this.draw())); // the Tab key has selected everything
  }

  /** Show these cells, with the cursor on the first doubtful one. */
  fill(cells) {
    Object.assign(this, { cells: [...cells], before: null });
    this.goTo(cells.findIndex(isDoubtful));
  }

  goTo(at) {
    this.at = Math.max(0, Math.min(at, this.cells.length));
    this.holes = 0; // that erasures left, and that the next keys fill instead of replacing
    this.draw();
  }

  /** Note which characters are selected, before they are replaced. */
  remember() {
    const index = (units) => [...this.input.value.slice(0, units)].length;
    this.before = [index(this.input.selectionStart), index(this.input.selectionEnd)];
  }

  beforeInput(event) {
    if (event.isComposing) return;
    this.remember();
    const [start, end] = this.before;
    const back = { deleteContentBackward: 1, deleteContentForward: 0 }[event.inputType];
    if (end - start > 1 || back === undefined) return;
    event.preventDefault();
    const at = this.at - back;
    if (at < 0) return;
    this.cells.splice(at, 1);
    Object.assign(this, { at, holes: this.holes + 1 });
    this.draw();
  }

  /** Take over what the browser did to the input; while an input method composes, only show it. */
  take(isComposing, isEnd) {
    if (!this.before) return; // what ended a composition has been taken already
    const [start, end] = this.before;
    const now = [...this.input.value];
    const typed = cleaned(now.slice(start, now.length - (this.cells.length - end)).join(""));
    if (isComposing) return this.drawBoxes(this.with(typed, start, end), start + typed.length);
    this.before = null;
    if (isEnd && !typed.length) return this.draw(); // the composition was given up
    this.type(typed, start, end);
    const { min, max } = limits();
    if (typed.length && min === max && this.at === max) this.whenFull();
  }

  /** End a composition, even while under way: some keyboards on glass compose all they write. */
  commit() { this.take(false, true); }

  with(typed, start, end) {
    const rest = this.cells.slice(Math.max(end, start + (this.holes ? 0 : typed.length)));
    return [...this.cells.slice(0, start), ...cellsOf(typed), ...rest].slice(0, limits().max);
  }

  type(typed, start, end) {
    this.cells = this.with(typed, start, end);
    this.at = Math.min(start + typed.length, this.cells.length);
    this.holes = Math.max(0, this.holes - typed.length);
    this.draw();
  }

  paste(event) {
    event.preventDefault();
    const typed = cleaned(event.clipboardData.getData("text"));
    if (typed.length >= limits().min) this.type(typed, 0, this.cells.length);
    else this.type(typed, this.at, this.at);
  }

  move(event) {
    const { at, cells } = this;
    const goal = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: cells.length }[event.key];
    if (goal === undefined || event.isComposing || event.shiftKey || event.ctrlKey) return;
    event.preventDefault();
    this.goTo(goal);
  }

  boxUnder(x) {
    const k = [...this.boxes.children].findIndex((box) => x < box.getBoundingClientRect().right);
    return k < 0 ? this.cells.length : k;
  }

  draw() {
    const units = (n) => textOf(this.cells.slice(0, n)).length;
    this.input.value = textOf(this.cells);
    this.input.setSelectionRange(units(this.at), units(this.at + (this.holes ? 0 : 1)));
    this.drawBoxes(this.cells, this.at);
  }

  drawBoxes(cells, at) {
    const length = Math.max(limits().min, Math.min(cells.length + 1, limits().max));
    this.boxes.replaceChildren(...Array.from({ length }, (_, k) => {
      const { character = "", confidence = 1 } = cells[k] || {};
      const names = { box: true, doubtful: isDoubtful({ confidence }), current: k === at,
        inserting: k === at && character && this.holes, passed: at === length && k === at - 1 };
      const className = Object.keys(names).filter((name) => names[name]).join(" ");
      return make("span", { className }, character);
    }));
  }
}
