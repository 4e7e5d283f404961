// Views "many" and "characters": a grid of pictures that look right; the wrong ones are marked.
import { one, takeBack, undoStep } from "./one.js";
import { api, byId, countLabelled, labeller, make, say, saying, state, t } from "./shared.js";

/** `accept(right, wrong)` has the items of the grid when Enter is pressed, and shows the next. */
class Grid {
  constructor(name, accept) {
    Object.assign(this, { box: byId(`${name}-grid`), button: byId(`${name}-accept`), accept });
    this.box.addEventListener("click", (event) => this.mark(event.target.closest(".tile")));
    this.button.onclick = () => this.run();
  }

  /** Show items with `src`, the address of the picture, and perhaps a `caption`. */
  fill(items, ifEmpty) {
    this.items = items;
    this.wrong = new Set();
    this.tiles = items.map(({ id, src, text, caption = "" }) => {
      const tile = make("button", { className: "tile" }, make("img", { src, alt: "" }), caption);
      tile.setAttribute("aria-label", t("tile", { text, id }));
      return tile;
    });
    this.box.replaceChildren(...(items.length ? this.tiles : [make("p", {}, ifEmpty)]));
    this.show(0);
  }

  /** Show what is marked. One tile is in the order of the Tab key; arrow keys reach the others. */
  show(at) {
    const { items, tiles, wrong, button } = this;
    items.forEach((item, k) => tiles[k].setAttribute("aria-pressed", String(wrong.has(item))));
    button.firstElementChild.textContent = t("accept_n", { n: items.length - wrong.size });
    button.disabled = !items.length;
    if (!tiles[at]) return;
    tiles.forEach((tile, k) => { tile.tabIndex = k === at ? 0 : -1; });
    tiles[at].focus();
  }

  mark(tile) {
    const at = this.tiles.indexOf(tile);
    if (at < 0) return;
    if (!this.wrong.delete(this.items[at])) this.wrong.add(this.items[at]);
    this.show(at);
  }

  keydown(event) {
    const at = this.tiles ? this.tiles.indexOf(event.target) : -1;
    if (event.key === "Enter" && (at >= 0 || !event.target.closest("button, a"))) {
      event.preventDefault();
      if (!event.repeat) this.run();
    }
    if (at < 0) return;
    const inRow = this.tiles.filter((tile) => tile.offsetTop === this.tiles[0].offsetTop).length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -inRow, ArrowDown: inRow }[event.key];
    if (!by) return;
    event.preventDefault();
    this.show(at + by);
  }

  /** Nothing is shown anew before the server has it: an error leaves the grid as it is. */
  async run() {
    if (this.isBusy || !this.items?.length) return;
    this.isBusy = true;
    const wrong = [...this.wrong];
    await saying(this.accept)(this.items.filter((item) => !wrong.includes(item)), wrong);
    if (wrong.length) one.setStale(); // they come first
    this.isBusy = false;
  }
}

const manyGrid = new Grid("many", async (right, wrong) => {
  const items = right.map(({ id, text }) => ({ id, text }));
  const release = wrong.map((item) => item.id);
  const { accepted, refused } = await api("api/accept", { labeller, items, release });
  countLabelled(accepted);
  await loadMany();
  const more = refused.length ? t("refused", { n: refused.length, ...refused[0] }) : "";
  say(`${t("accepted", { n: accepted })} ${more}`, refused.length > 0);
});

function showMany({ items, labels = {} }) {
  manyGrid.fill(items.map(({ id, text: read }) => {
    const text = labels[id] || read;
    return { id, text, caption: text, src: `api/image/${id}` };
  }), t("no_many"));
}

const loadMany = async () => showMany(await api("api/many", { labeller, count: 60 }));

byId("many-undo").onclick = saying(async () => {
  showMany(await undoStep());
  say("");
  countLabelled(0);
});
export const many = { open: saying(loadMany), keydown: (event) => manyGrid.keydown(event) };

let character = null;
const charactersGrid = new Grid("characters", async (right, wrong) => {
  const pairs = (items) => items.map(({ id, position }) => [id, position]);
  const body = { labeller, character, right: pairs(right), wrong: pairs(wrong) };
  const answer = await api("api/characters/accept", body);
  countLabelled(answer.labelled);
  await loadCharacters(character);
  say(t("confirmed", answer));
});

async function loadCharacters(wanted) {
  const answer = await api("api/characters", { labeller, character: wanted });
  const { classes, items } = answer;
  if (wanted && !items.length) return loadCharacters(null);
  character = answer.character;
  byId("character").textContent = items.length ? character : "";
  byId("classes").replaceChildren(...classes.map(({ character: name, left }) => {
    const onclick = () => saying(loadCharacters)(name);
    const button = make("button", { onclick }, make("b", {}, name), String(left));
    button.setAttribute("aria-label", t("class_left", { character: name, left }));
    button.setAttribute("aria-current", String(name === character));
    return button;
  }));
  const step = state.model?.step; // other weights find characters elsewhere: no old picture of them
  charactersGrid.fill(items.map((item) =>
    ({ ...item, src: `api/character/${item.id}/${item.position}?${step}` })), t("no_characters"));
}

byId("characters-undo").onclick = saying(async () => {
  takeBack(await undoStep());
  location.hash = "#one";
});
export const characters = {
  open: () => saying(loadCharacters)(character),
  keydown: (event) => charactersGrid.keydown(event),
};
