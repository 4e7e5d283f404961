// Start the page, and switch between its views; the address names the view.
import { characters, many } from "./grids.js";
import { one } from "./one.js";
import { byId, refresh, say, t, translatePage } from "./shared.js";
import { train } from "./train.js";
import { tryIt } from "./try.js";

const views = { one, many, characters, train, try: tryIt };
let current = "";

function route() {
  const name = location.hash.slice(1);
  views[current]?.close?.();
  current = Object.keys(views).includes(name) ? name : "one";
  for (const other of Object.keys(views)) byId(`view-${other}`).hidden = other !== current;
  for (const link of document.querySelectorAll("header nav a"))
    link.setAttribute("aria-current", link.hash === `#${current}` ? "page" : "false");
  document.title = `${t(current)} – cnn_captcha`;
  say("");
  views[current].open();
}

document.addEventListener("keydown", (event) => {
  if (!byId("dialog").open) views[current]?.keydown?.(event);
});
window.addEventListener("hashchange", route);
document.addEventListener("connected", route);
translatePage();
refresh().then(route);
