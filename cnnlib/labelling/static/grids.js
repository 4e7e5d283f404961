// Views "many" and "characters": a grid of pictures that look right; the wrong ones are marked.
import { undo } from "./one.js";
import { api, byId, labeller, make, say, saying, state, t } from "./shared.js";

/** `load()` fills the grid; `accept(right, wrong)` has its items when Enter is pressed. */
class Grid {
  constructor(name, load, accept) {
    const [box, button] = [byId(`${name}-grid`), byId(`${name}-accept`)];
    Object.assign(this, { accept, open: saying(load), items: [], tiles: [], box, button });
    this.box.onclick = (event) => this.mark(event.target.closest(".tile"));
    this.button.onclick = () => this.run();
    byId(`${name}-undo`).onclick = () => this.undo();
  }

  /** Take back the last step, of whatever view; what it was about is in the grid again. */
  async undo() {
    if (!(await undo())) return;
    await this.open();
    say(t("undone"));
  }

  /** Show items with `src`, the address of the picture, and a text in it (`alt`) or below it. */
  fill(items, ifEmpty) {
    this.items = items;
    this.wrong = new Set();
    this.tiles = items.map(({ src, alt = "", caption = "" }) =>
      make("button", { className: "tile" }, make("img", { src, alt }), caption));
    this.box.replaceChildren(...(items.length ? this.tiles : [make("p", {}, ifEmpty)]));
    this.show(0);
  }

  /** Show what is marked. One tile is in the order of the Tab key; arrow keys reach the others. */
  show(at) {
    const { items, tiles, wrong, button } = this;
    tiles.forEach((tile, k) => {
      tile.setAttribute("aria-pressed", String(wrong.has(items[k])));
      tile.tabIndex = k === at ? 0 : -1;
    });
    button.firstElementChild.textContent = t("accept_n", { n: items.length - wrong.size });
    button.disabled = !items.length;
    tiles[at]?.focus();
  }

  mark(tile) {
    const at = this.tiles.indexOf(tile);
    if (at < 0) return;
    if (!this.wrong.delete(this.items[at])) this.wrong.add(this.items[at]);
    this.show(at);
  }

  keydown(event) {
    const { tiles } = this;
    const at = tiles.indexOf(event.target);
    if (event.key === "Enter" && (at >= 0 || !event.target.closest("button, a"))) {
      event.preventDefault();
      if (!event.repeat) this.run();
    }
    const inRow = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -inRow, ArrowDown: inRow }[event.key];
    if (at < 0 || !by) return;
    event.preventDefault();
    if (tiles[at + by]) this.show(at + by);
  }

  /** Nothing is shown again before the server has it: an error leaves the grid as it is. */
  async run() {
    if (this.isBusy || !this.items.length) return;
    this.isBusy = true;
    const right = this.items.filter((item) => !this.wrong.has(item));
    await saying(this.accept)(right, [...this.wrong]);
    this.isBusy = false;
  }
}

async function loadMany() {
  const { items } = await api("api/many", { labeller, count: 60 });
  const shown = ({ id, text }) => ({ id, text, caption: text, src: `api/image/${id}` });
  many.fill(items.map(shown), t("no_many"));
}

export const many = new Grid("many", loadMany, async (right, wrong) => {
  const items = right.map(({ id, text }) => ({ id, text }));
  const release = wrong.map(({ id }) => id);
  const { accepted, refused } = await api("api/accept", { labeller, items, release });
  await loadMany();
  const more = refused.length ? t("refused", { n: refused.length, ...refused[0] }) : "";
  say(`${t("accepted", { n: accepted })} ${more}`, refused.length > 0);
});

let character = null; // the server chooses

async function loadCharacters() {
  const answer = await api("api/characters", { labeller, character });
  character = byId("character").textContent = answer.character;
  byId("classes").replaceChildren(...answer.classes.map(({ character: name, left }) => {
    const button = make("button", {}, make("b", {}, name), ` ${left}`);
    button.setAttribute("aria-current", String(name === character));
    button.onclick = () => { character = name; characters.open(); };
    return button;
  }));
  const step = state.model?.step; // other weights find characters elsewhere: no old picture of them
  const source = ({ id, position }) => `api/character/${id}/${position}?${step}`;
  const items = answer.items.map((item) => ({ ...item, alt: item.text, src: source(item) }));
  characters.fill(items, t("no_characters"));
}

export const characters = new Grid("characters", loadCharacters, async (right, wrong) => {
  const pairs = (items) => items.map(({ id, position }) => [id, position]);
  const body = { labeller, character, right: pairs(right), wrong: pairs(wrong) };
  const answer = await api("api/characters/accept", body);
  await loadCharacters();
  say(t("confirmed", answer));
});
