// Runs once per viewer. All panels share one view: a zoom and a centre in picture coordinates, so wheel, drag and
// pinch on any of them move all. The server sends finished texts and links; nothing is measured here.
const root = element.querySelector(".viewer");
const find = (selector) => root.querySelector(selector);
const grid = find(".v-grid");
const stage = find(".v-stage");
const strip = find(".v-strip");
const divider = find(".v-divider");
const MAX_ZOOM = 64;
const LENS_SCALE = 4;

const view = { zoom: 1, x: 0.5, y: 0.5 };
const state = { mode: "grid", current: null, a: null, b: null, cut: 50, flick: false, lens: false, overlay: null, chosen: new Set() };
const NOTHING = { panels: [], size: [1, 1], pending: [], missing: [], figure: [], flicker: [], columns: [], title: "", settings: "" };
let shown = NOTHING;
const cards = new Map();
let bitsImage = null;

const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const panelOf = (id) => shown.panels.find((panel) => panel.id === id);
const nameOf = (file) => file.orig_name || file.path.split("/").pop();
const ports = () =>
  [...root.querySelectorAll(".v-port")].filter((port) => port.offsetParent !== null && port.querySelector("img"));

// ---- geometry -------------------------------------------------------------------------------------------------

const fitOf = (port) => Math.min(port.clientWidth / shown.size[0], port.clientHeight / shown.size[1]) || 1;

const clampView = (port) => {
  view.zoom = Math.min(Math.max(view.zoom, 1), MAX_ZOOM / Math.min(1, fitOf(port)));
  for (const [axis, side, span] of [["x", 0, port.clientWidth], ["y", 1, port.clientHeight]]) {
    const half = span / (2 * shown.size[side] * fitOf(port) * view.zoom);
    view[axis] = half >= 0.5 ? 0.5 : Math.min(Math.max(view[axis], half), 1 - half);
  }
};

const place = () => {
  const [width, height] = shown.size;
  const visible = ports();
  if (visible.length) clampView(visible[0]);
  for (const port of visible) {
    const scale = fitOf(port) * view.zoom;
    const left = port.clientWidth / 2 - view.x * width * scale;
    const top = port.clientHeight / 2 - view.y * height * scale;
    for (const image of port.querySelectorAll("img")) {
      // Blocks at the right and bottom may lie partly outside the picture.
      const blocks = image.classList.contains("v-bits") && bitsImage ? bitsImage : null;
      image.style.width = (blocks ? blocks.width : width) + "px";
      image.style.height = (blocks ? blocks.height : height) + "px";
      if (blocks) image.style.clipPath = "inset(0 " + (blocks.width - width) + "px " + (blocks.height - height) + "px 0)";
      image.style.transform = "translate(" + left + "px," + top + "px) scale(" + scale + ")";
      image.style.imageRendering = blocks || (scale * devicePixelRatio > 1.001 && view.zoom > 1) ? "pixelated" : "auto";
    }
  }
  const scale = visible.length ? fitOf(visible[0]) * view.zoom * devicePixelRatio : 1;
  find(".v-zoom").textContent = view.zoom <= 1.0001 ? "Fit" : Math.round(scale * 100) + " %";
  root.classList.toggle("zoomed", view.zoom > 1.0001);
  root.dataset.view = [view.zoom.toFixed(3), view.x.toFixed(4), view.y.toFixed(4)].join(" ");
};

// The point of the picture under a pointer, as a share of its sides.
const pointAt = (port, clientX, clientY) => {
  const box = port.getBoundingClientRect();
  const scale = fitOf(port) * view.zoom;
  return {
    x: view.x + (clientX - box.left - box.width / 2) / (shown.size[0] * scale),
    y: view.y + (clientY - box.top - box.height / 2) / (shown.size[1] * scale),
  };
};

const zoomAt = (port, factor, clientX, clientY) => {
  const before = pointAt(port, clientX, clientY);
  view.zoom = Math.min(Math.max(view.zoom * factor, 1), MAX_ZOOM);
  const after = pointAt(port, clientX, clientY);
  view.x += before.x - after.x;
  view.y += before.y - after.y;
  place();
};

const zoomCentre = (factor) => {
  const port = ports()[0];
  if (!port) return;
  const box = port.getBoundingClientRect();
  zoomAt(port, factor, box.left + box.width / 2, box.top + box.height / 2);
};

const reset = () => {
  Object.assign(view, { zoom: 1, x: 0.5, y: 0.5 });
  place();
};

const zoomPixels = () => {
  const port = ports()[0];
  if (!port) return;
  view.zoom = Math.max(1, 1 / (fitOf(port) * devicePixelRatio));
  place();
};

// ---- pointer --------------------------------------------------------------------------------------------------

const fingers = new Map();
let pinch = 0;

const moveLens = (port, event) => {
  const point = pointAt(port, event.clientX, event.clientY);
  for (const other of ports()) {
    let lens = other.querySelector(".v-lens");
    if (!lens) other.append((lens = make("div", "v-lens")));
    const image = other.querySelector("img");
    const scale = fitOf(other) * view.zoom;
    const big = Math.max(scale, 1 / devicePixelRatio) * LENS_SCALE;
    const x = other.clientWidth / 2 + (point.x - view.x) * shown.size[0] * scale;
    const y = other.clientHeight / 2 + (point.y - view.y) * shown.size[1] * scale;
    const half = lens.offsetWidth / 2;
    lens.style.transform = "translate(" + (x - half) + "px," + (y - half) + "px)";
    lens.style.backgroundImage = 'url("' + image.src + '")';
    lens.style.backgroundSize = shown.size[0] * big + "px " + shown.size[1] * big + "px";
    lens.style.backgroundPosition =
      half - point.x * shown.size[0] * big + "px " + (half - point.y * shown.size[1] * big) + "px";
  }
};
const dropLens = () => root.querySelectorAll(".v-lens").forEach((lens) => lens.remove());

root.addEventListener("wheel", (event) => {
  const port = event.target.closest(".v-port");
  const active = root.contains(document.activeElement) || document.fullscreenElement === root || event.ctrlKey;
  if (!port || !active) return; // an unfocused viewer lets the page scroll
  event.preventDefault();
  const step = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
  zoomAt(port, Math.exp(-step * 0.002), event.clientX, event.clientY);
}, { passive: false });

root.addEventListener("pointerdown", (event) => {
  const port = event.target.closest(".v-port");
  if (!port || event.button > 0) return;
  root.focus({ preventScroll: true });
  fingers.set(event.pointerId, event);
  pinch = 0;
  if (view.zoom > 1.0001 || event.pointerType !== "touch") port.setPointerCapture(event.pointerId);
});

root.addEventListener("pointermove", (event) => {
  const port = event.target.closest(".v-port");
  if (state.lens && port && !fingers.size) moveLens(port, event);
  const last = fingers.get(event.pointerId);
  if (!last || !port) return;
  fingers.set(event.pointerId, event);
  if (fingers.size === 1) {
    const scale = fitOf(port) * view.zoom;
    view.x -= (event.clientX - last.clientX) / (shown.size[0] * scale);
    view.y -= (event.clientY - last.clientY) / (shown.size[1] * scale);
    place();
  } else if (fingers.size === 2) {
    const [one, two] = [...fingers.values()];
    const apart = Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY);
    if (pinch) zoomAt(port, apart / pinch, (one.clientX + two.clientX) / 2, (one.clientY + two.clientY) / 2);
    pinch = apart;
  }
});
for (const kind of ["pointerup", "pointercancel", "lostpointercapture"])
  root.addEventListener(kind, (event) => {
    fingers.delete(event.pointerId);
    pinch = 0;
  });
root.addEventListener("pointerleave", dropLens);
root.addEventListener("dblclick", (event) => {
  const port = event.target.closest(".v-port");
  if (!port) return;
  if (view.zoom > 1.0001) reset();
  else zoomAt(port, Math.max(2, 1 / (fitOf(port) * devicePixelRatio)), event.clientX, event.clientY);
});
// Two fingers belong to the viewer even where one still scrolls the page.
root.addEventListener("touchmove", (event) => {
  if (event.target.closest(".v-port") && (event.touches.length > 1 || view.zoom > 1.0001)) event.preventDefault();
}, { passive: false });

// ---- the line between two panels --------------------------------------------------------------------------------

const cutAt = (share) => {
  state.cut = Math.min(Math.max(share, 0), 100);
  stage.style.setProperty("--cut", state.cut + "%");
  divider.setAttribute("aria-valuenow", String(Math.round(state.cut)));
};
divider.addEventListener("pointerdown", (event) => {
  event.stopPropagation();
  divider.setPointerCapture(event.pointerId);
});
divider.addEventListener("pointermove", (event) => {
  if (!divider.hasPointerCapture(event.pointerId)) return;
  const box = stage.getBoundingClientRect();
  cutAt((100 * (event.clientX - box.left)) / box.width);
});
divider.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  cutAt(state.cut + step);
});

// ---- drawing ----------------------------------------------------------------------------------------------------

// The reference lies over a panel, blended as the difference, only while errors are shown.
const setReference = (image, panel) => {
  const original = shown.panels[0];
  const wanted = state.overlay === "errors" && panel && original.kind === "original" && panel.id !== original.id;
  if (wanted) image.src = original.picture.url;
  else image.removeAttribute("src");
  image.parentElement.classList.toggle("v-errors", Boolean(wanted));
};

// The bits are those of the SPRDiff stream: they lie over its pictures and over the original.
const setBits = (image, panel) => {
  const wanted = state.overlay === "bits" && bitsImage && panel && panel.kind !== "baseline";
  if (wanted) image.src = bitsImage.url;
  else image.removeAttribute("src");
  image.parentElement.classList.toggle("v-with-bits", Boolean(wanted));
};

const setImage = (image, panel) => {
  const [reference, bits] = [...image.parentElement.querySelectorAll(".v-reference, .v-bits")];
  setReference(reference, panel);
  setBits(bits, panel);
  const alt = panel ? panel.label + ": " + panel.facts.join(", ") : "";
  if (panel && image.getAttribute("src") !== panel.picture.url) image.src = panel.picture.url;
  image.alt = alt;
};

// One pixel a block: from clear through red to pale yellow, so that light and dark pictures both carry it.
const RAMP = [[120, 20, 0, 0], [190, 40, 8, 150], [255, 108, 64, 205], [255, 226, 150, 240]];
const rampAt = (share) => {
  const place = share * (RAMP.length - 1), low = Math.min(Math.floor(place), RAMP.length - 2), part = place - low;
  return RAMP[low].map((value, i) => value + (RAMP[low + 1][i] - value) * part);
};
const makeBits = () => {
  const blocks = shown.stream && shown.stream.blocks;
  root.classList.toggle("with-bits", Boolean(blocks));
  if (!blocks) return (bitsImage = null);
  const levels = Uint8Array.from(atob(blocks.base64), (letter) => letter.charCodeAt(0));
  const canvas = document.createElement("canvas");
  canvas.width = blocks.columns;
  canvas.height = blocks.rows;
  const pen = canvas.getContext("2d"), pixels = pen.createImageData(blocks.columns, blocks.rows);
  levels.forEach((level, i) => pixels.data.set(rampAt(level / 255).map(Math.round), 4 * i));
  pen.putImageData(pixels, 0, 0);
  bitsImage = { url: canvas.toDataURL(), width: blocks.columns * blocks.side, height: blocks.rows * blocks.side };
  find(".v-legend-bits b").textContent = blocks.most;
  find(".v-bits-words").textContent = blocks.legend;
};

const download = (file, text, label) => {
  const link = make("a", "v-download", text);
  link.href = file.url;
  link.download = nameOf(file);
  link.setAttribute("aria-label", label);
  return link;
};

// Words on the weights that a metric waits for, by its id.
let awaited = {};

// A number; dots, or how far its weights are, while it is waited for; or a dash with the reason. ``box`` is marked
// where it is the best.
const fillCell = (node, cell, box = node) => {
  const waits = cell.text === "…";
  const words = cell.reason || (waits ? "not measured yet" : cell.best ? "best within the budget" : "");
  node.textContent = cell.text;
  box.classList.toggle("best", cell.best);
  box.classList.toggle("waiting", waits);
  if (waits) node.dataset.awaits = cell.id;
  if (cell.reason) node.title = cell.reason;
  if (words) node.append(make("span", "sr-only", " " + words));
  if (waits && awaited[cell.id]) sayAwaited(node);
  return node;
};
const sayAwaited = (node) => {
  const words = awaited[node.dataset.awaits];
  node.replaceChildren(words || "…");
  node.classList.toggle("fetching", Boolean(words));
  if (!words) node.append(make("span", "sr-only", " not measured yet"));
};
document.addEventListener("sprdiff-awaited", (event) => {
  awaited = event.detail;
  root.querySelectorAll("[data-awaits]").forEach(sayAwaited);
});

const caption = (panel) => {
  const box = make("figcaption");
  const head = make("div", "v-head");
  const name = make("button", "v-name", panel.label);
  name.type = "button";
  name.title = "Show this panel alone";
  name.addEventListener("click", () => select(panel.id, "one"));
  head.append(name);
  if (panel.over_budget) head.append(make("span", "v-over-budget", "over budget"));
  const facts = make("p", "v-facts", panel.facts.join("  ·  "));
  if (panel.about) facts.title = panel.about;
  box.append(head, facts);
  if (panel.cells.length) {
    const list = make("dl", "v-metrics");
    panel.cells.forEach((cell, i) => {
      const column = shown.columns[i];
      if (!column.beside) return;
      const pair = make("div");
      pair.append(make("dt", "", column.label + (column.unit ? ", " + column.unit : "")), fillCell(make("dd"), cell, pair));
      list.append(pair);
    });
    box.append(list);
  }
  const links = make("p", "v-links");
  if (panel.file) {
    const extension = nameOf(panel.file).split(".").pop();
    links.append(download(panel.file, "." + extension, "Download the ." + extension + " file of " + panel.label));
  }
  links.append(download(panel.picture, "PNG", "Download " + panel.label + " as PNG"));
  head.append(links);
  return box;
};

const drawGrid = () => {
  const wanted = new Set(shown.panels.map((panel) => panel.id));
  for (const [id, card] of cards) if (!wanted.has(id)) card.remove(), cards.delete(id);
  grid.querySelectorAll(".v-pending").forEach((node) => node.remove());
  for (const panel of shown.panels) {
    let card = cards.get(panel.id);
    if (!card) {
      card = make("figure", "v-card");
      card.dataset.panel = panel.id;
      card.dataset.kind = panel.kind;
      const port = make("div", "v-port");
      const pictures = make("div", "v-pics");
      const image = make("img");
      const reference = make("img", "v-reference");
      const bits = make("img", "v-bits");
      image.draggable = reference.draggable = bits.draggable = false;
      reference.alt = bits.alt = "";
      pictures.append(image, reference, bits);
      port.append(pictures);
      card.append(port);
      cards.set(panel.id, card);
    }
    setImage(card.querySelector("img"), panel);
    const old = card.querySelector("figcaption");
    if (old) old.remove();
    card.append(caption(panel));
    grid.append(card);
  }
  for (const label of shown.pending) {
    const card = make("figure", "v-card v-pending");
    card.append(make("div", "v-port"), make("figcaption", "", label));
    grid.append(card);
  }
  grid.querySelectorAll(".v-missing").forEach((node) => node.remove());
  for (const missing of shown.missing) {
    const card = make("figure", "v-card v-missing");
    const caption = make("figcaption");
    caption.append(make("b", "v-name", missing.label), make("p", "v-facts", "left out"));
    card.append(make("p", "v-reason", missing.reason), caption);
    grid.append(card);
  }
};

const drawStrip = () => {
  strip.replaceChildren();
  for (const panel of shown.panels) {
    const button = make("button", "", "");
    button.type = "button";
    button.dataset.panel = panel.id;
    button.append(make("b", "", panel.label), make("span", "", panel.facts[0]));
    if (panel.over_budget) button.append(make("span", "v-over-budget", "over budget"));
    button.addEventListener("click", () => select(panel.id));
    strip.append(button);
  }
  for (const side of ["a", "b"]) {
    const menu = find("select[data-side=" + side + "]");
    menu.replaceChildren(
      ...shown.panels.map((panel) => {
        const option = make("option", "", panel.label);
        option.value = panel.id;
        return option;
      }),
    );
    menu.value = state[side];
  }
};

const drawStage = () => {
  root.dataset.mode = state.mode;
  for (const button of root.querySelectorAll(".v-modes button"))
    button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
  const first = shown.panels[0];
  const left = state.flick ? first : panelOf(state.mode === "one" ? state.current : state.a);
  const right = panelOf(state.b);
  for (const [side, panel] of [["a", left], ["b", right]]) {
    const port = find('.v-port[data-side="' + side + '"]');
    setImage(port.querySelector("img"), panel);
    const tag = port.querySelector(".v-tag");
    tag.replaceChildren();
    if (panel) tag.append(make("b", "", panel.label), " ", panel.facts.join("  ·  "));
  }
  stage.style.setProperty("--ratio", shown.size[0] / shown.size[1]);
  grid.style.setProperty("--ratio", shown.size[0] / shown.size[1]);
  for (const button of strip.children)
    button.setAttribute("aria-pressed", String(state.mode === "one" && button.dataset.panel === state.current));
  for (const [id, card] of cards) card.classList.toggle("current", id === state.current);
  if (state.flick) root.dataset.flick = "1";
  else delete root.dataset.flick;
  place();
};

const drawTable = () => {
  const box = find(".v-table");
  const rows = shown.panels.filter((panel) => panel.cells.length);
  box.hidden = !rows.length;
  box.replaceChildren();
  if (!rows.length) return;
  const table = make("table");
  const name = make("caption", "", "The same as numbers");
  name.append(make("span", "", shown.settings));
  table.append(name);
  const head = make("tr");
  for (const label of ["Method", "Bytes", "bpp", "Raw : file", "Coded at"]) head.append(make("th", "", label));
  for (const column of shown.columns) {
    const cell = make("th", "", column.name + (column.unit ? ", " + column.unit : ""));
    cell.title = column.about;
    cell.append(make("span", "v-arrow", column.better === "higher" ? "\u00a0↑" : "\u00a0↓"));
    cell.append(make("span", "sr-only", column.better + " is better"));
    head.append(cell);
  }
  head.append(make("th", "", "Encode / decode"));
  head.querySelectorAll("th").forEach((cell) => (cell.scope = "col"));
  table.append(make("thead"), make("tbody"));
  table.tHead.append(head);
  for (const panel of rows) {
    const row = make("tr");
    row.dataset.panel = panel.id;
    row.dataset.kind = panel.kind;
    const label = make("th", "", panel.label);
    label.scope = "row";
    if (panel.over_budget) label.append(" ", make("span", "v-over-budget", "over budget"));
    row.append(label);
    for (const text of [panel.bytes, panel.bpp, panel.ratio, panel.scale]) row.append(make("td", "", text));
    for (const cell of panel.cells) {
      const node = fillCell(make("td"), cell);
      row.append(node);
    }
    row.append(make("td", "", panel.times));
    table.tBodies[0].append(row);
  }
  box.append(table);
  // Why cells are empty, also for those who cannot hover.
  const reasons = new Map();
  for (const panel of rows)
    panel.cells.forEach((cell, i) => {
      if (cell.reason) reasons.set(cell.reason, (reasons.get(cell.reason) || new Set()).add(shown.columns[i].label));
    });
  const about = make("dl", "v-about note");
  for (const column of shown.columns) about.append(make("dt", "", column.label), make("dd", "", column.about));
  box.append(about);
  for (const [reason, labels] of reasons) box.append(make("p", "note", "– " + [...labels].join(", ") + ": " + reason));
};

const viewedCrop = () => {
  const port = ports()[0];
  if (!port || view.zoom <= 1.0001) return null;
  const scale = fitOf(port) * view.zoom;
  return [["x", port.clientWidth, 0], ["y", port.clientHeight, 1]]
    .map(([axis, span, side]) => [view[axis], span / (2 * shown.size[side] * scale)])
    .map(([middle, half]) => [Math.max(0, middle - half), Math.min(1, middle + half)])
    .reduce((xs, ys) => [xs[0], ys[0], xs[1], ys[1]]);
};

const drawTake = () => {
  const box = find(".v-take");
  box.hidden = !shown.bundle;
  if (!shown.bundle) return;
  const maker = (text, send) => {
    const button = make("button", "v-draw", text);
    button.type = "button";
    button.addEventListener("click", () => {
      button.disabled = true;
      send({ crop: viewedCrop() });
    });
    return button;
  };
  const buttons = [
    maker(shown.figure.length ? "Draw the figure again" : "Draw a figure for slides", (part) => trigger("figure", part)),
    maker(shown.flicker.length ? "Make the animation again" : "Make an animation", (part) => trigger("flicker", part)),
  ];
  const links = [];
  const names = {
    png: "Figure as PNG, 300 dpi", pdf: "Figure as PDF",
    gif: "Animation as GIF", apng: "Animation as APNG", mp4: "Animation as MP4",
  };
  for (const file of [...shown.figure, ...shown.flicker])
    links.push(download(file, names[nameOf(file).split(".").pop()], nameOf(file)));
  links.push(download(shown.page, "Report as one HTML page", "Report as one HTML page, with its own slider"));
  links.push(download(shown.bundle, "Everything as one zip", "Everything as one zip: pictures, files and numbers"));
  for (const link of links) link.removeAttribute("aria-label");
  find(".v-take-links").replaceChildren(...buttons, ...links);
  for (const [of, picture] of [["figure", shown.figure[0]], ["flicker", shown.flicker[0]]]) {
    const figure = find('.v-figure[data-of="' + of + '"]');
    figure.hidden = !picture;
    if (!picture) continue;
    figure.href = picture.url;
    figure.download = nameOf(picture);
    figure.firstElementChild.src = picture.url;
  }
};

// Every byte of the file as one cell, its value as lightness; the first cells are the header.
const drawBytes = () => {
  const box = find(".v-bytes");
  const stream = shown.stream;
  box.hidden = !stream;
  if (!stream) return;
  const data = Uint8Array.from(atob(stream.base64), (letter) => letter.charCodeAt(0));
  const canvas = box.querySelector("canvas");
  const width = box.clientWidth || 600;
  const limit = 4096; // more cells than this are no longer seen
  const cells = Math.min(data.length, limit);
  const pitch = Math.max(5, Math.min(14, Math.sqrt((width * 56) / cells)));
  const columns = Math.max(1, Math.floor(width / pitch));
  const lines = Math.ceil(cells / columns);
  const ratio = devicePixelRatio;
  canvas.width = width * ratio;
  canvas.height = lines * pitch * ratio;
  canvas.style.height = lines * pitch + "px";
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(root);
  const [header, z] = stream.split.length ? stream.split : [0, 0];
  for (let i = 0; i < cells; i++) {
    pen.fillStyle = style.getPropertyValue(i < header ? "--ink" : i < header + z ? "--ink-soft" : "--accent");
    pen.globalAlpha = 0.12 + (0.88 * data[i]) / 255;
    pen.fillRect((i % columns) * pitch, Math.floor(i / columns) * pitch, pitch - 1, pitch - 1);
  }
  const all = cells === data.length ? "" : ", the first " + limit + " drawn";
  box.querySelector("figcaption").textContent = "The whole file, " + stream.total + all + ": each cell is one byte";
  canvas.setAttribute("aria-label", "The " + stream.total + " of the compressed file, each drawn as one cell");
  box.querySelector(".v-split").textContent = stream.split.length
    ? "header and checksum " + stream.split[0] + ", hyper-latent z " + stream.split[1] + ", latent y " + stream.split[2]
    : "";
};

const draw = () => {
  const value = props.value;
  shown = value && value.panels ? value : NOTHING;
  const ids = shown.panels.map((panel) => panel.id);
  const newest = ids[ids.length - 1] || null;
  // Until somebody chooses, the best that there is so far is shown against the original.
  const best = ids.includes("sprdiff-final") ? "sprdiff-final" : newest;
  for (const [slot, fallback] of [["current", best], ["a", ids[0] || null], ["b", best]])
    if (!state.chosen.has(slot) || !ids.includes(state[slot])) state[slot] = fallback;
  root.classList.toggle("empty", !ids.length);
  find(".v-title h2").textContent = shown.title || "";
  find(".v-title p").textContent = shown.settings || "";
  const key = shown.title + shown.size.join("x");
  if (root.dataset.picture !== key) Object.assign(view, { zoom: 1, x: 0.5, y: 0.5 });
  root.dataset.picture = key;
  root.classList.toggle("measured", shown.panels.length > 1 && shown.panels[0].kind === "original");
  root.classList.toggle("single", ids.length + shown.pending.length === 1);
  dropLens();
  makeBits();
  if (state.overlay === "bits" && !bitsImage) setOverlay(null);
  drawGrid();
  drawStrip();
  drawTable();
  drawTake();
  drawStage();
  drawBytes();
};

// ---- commands -----------------------------------------------------------------------------------------------

const setMode = (mode) => {
  state.mode = mode;
  dropLens();
  drawStage();
};
const setSide = (side, id) => {
  state[side] = id;
  state.chosen.add(side);
  find("select[data-side=" + side + "]").value = id;
};
const select = (id, mode) => {
  state.current = id;
  state.chosen.add("current");
  if (mode || state.mode === "grid") state.mode = mode || "one";
  else if (state.mode === "split") setSide("b", id);
  drawStage();
};
const step = (by) => {
  const ids = shown.panels.map((panel) => panel.id);
  if (!ids.length) return;
  const from = ids.indexOf(state.mode === "split" ? state.b : state.current);
  select(ids[(from + by + ids.length) % ids.length]);
};
const flick = (on) => {
  if (state.flick === on) return;
  state.flick = on;
  if (state.mode === "grid") {
    // All panels at once become the original.
    for (const [id, card] of cards) setImage(card.querySelector("img"), on ? shown.panels[0] : panelOf(id));
  }
  drawStage();
};
const setLens = (on) => {
  state.lens = on;
  find("[data-act=lens]").setAttribute("aria-pressed", String(on));
  if (!on) dropLens();
};
const setOverlay = (overlay) => {
  state.overlay = overlay;
  for (const kind of ["errors", "bits"]) {
    find("[data-act=" + kind + "]").setAttribute("aria-pressed", String(overlay === kind));
    find(".v-legend-" + kind).hidden = overlay !== kind;
  }
  for (const [id, card] of cards) setImage(card.querySelector("img"), panelOf(id));
  drawStage();
};
const toggle = (overlay) => {
  if (overlay === "bits" && !bitsImage) return;
  if (overlay === "errors" && !root.classList.contains("measured")) return;
  setOverlay(state.overlay === overlay ? null : overlay);
};
const fill = () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (root.requestFullscreen) root.requestFullscreen();
};

root.addEventListener("click", (event) => {
  const button = event.target.closest(".v-bar button");
  if (!button) return;
  const { mode, zoom, act } = button.dataset;
  if (mode) setMode(mode);
  if (zoom === "in") zoomCentre(1.5);
  if (zoom === "out") zoomCentre(1 / 1.5);
  if (zoom === "fit") reset();
  if (zoom === "pixels") zoomPixels();
  if (act === "lens") setLens(!state.lens);
  if (act === "errors" || act === "bits") toggle(act);
  if (act === "full") fill();
});
root.addEventListener("change", (event) => {
  if (!event.target.matches(".v-select")) return;
  setSide(event.target.dataset.side, event.target.value);
  drawStage();
});

let hovered = false;
root.addEventListener("pointerenter", () => (hovered = true));
root.addEventListener("pointerleave", () => (hovered = false));
const listens = (event) => {
  const active = document.activeElement;
  const typing = active && active.matches("input, select, textarea, [contenteditable]");
  // Not offsetParent: the viewer has none while it fills the screen.
  return (
    root.getClientRects().length && shown.panels.length && !typing && !event.ctrlKey && !event.metaKey && !event.altKey &&
    (root.contains(active) || (hovered && (!active || active === document.body)))
  );
};
document.addEventListener("keydown", (event) => {
  if (!listens(event)) return;
  const onButton = document.activeElement && document.activeElement.matches("button, a");
  const commands = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    0: reset,
    f: fill,
    F: fill,
    m: () => setLens(!state.lens),
    M: () => setLens(!state.lens),
    e: () => toggle("errors"),
    E: () => toggle("errors"),
    b: () => toggle("bits"),
    B: () => toggle("bits"),
    "+": () => zoomCentre(1.5),
    "-": () => zoomCentre(1 / 1.5),
  };
  if (event.key === " " && !onButton) flick(true);
  else if (commands[event.key]) commands[event.key]();
  else return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => {
  if (event.key === " ") flick(false);
});
window.addEventListener("blur", () => flick(false));
document.addEventListener("fullscreenchange", () => requestAnimationFrame(place));
document.addEventListener("sprdiff-theme", () => drawBytes());
new ResizeObserver(() => {
  place();
  drawBytes();
}).observe(root);

cutAt(50);
watch("value", draw);
draw();
