// Runs once: the curves of one data set and one metric, chosen by method; solid lines were measured here.
const root = element.querySelector(".published");
const find = (selector) => root.querySelector(selector);
const plot = find(".c-plot");
const KINDS = { ours: "Measured here, our own weights", diffusion: "Diffusion", vq: "Vector quantization", gan: "Adversarial", learned: "Learned for distortion", classical: "Classical" };
const FENCE = 3; // quartile distances from the middle half of the values beyond which a point does not stretch the axis
const NAMED = 9; // more names than this at the right end cannot be read
const state = { set: null, metric: null, most: 0.06, off: new Set(), hot: null };
let sets = [];

const setOf = () => sets.find((entry) => entry.id === state.set);
const columnOf = () => setOf().columns.find((column) => column.id === state.metric);
const pointsOf = (curve) => curve.points.filter((point) => state.metric in point.values && point.bpp <= state.most);
const keyOf = (curve) => state.set + " " + curve.id;
const isOn = (curve) => !state.off.has(keyOf(curve));
const listed = () => {
  const order = Object.keys(KINDS);
  return setOf().curves.filter((curve) => pointsOf(curve).length).sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
};
const markOf = (curve) => MARKS[setOf().curves.filter((other) => other.kind === curve.kind).indexOf(curve) % MARKS.length];
const outside = (url, text, label) => {
  const link = make("a", "v-download", text);
  link.href = url;
  link.target = "_blank";
  link.rel = "noreferrer noopener";
  if (label) link.setAttribute("aria-label", label);
  return link;
};

const heat = (curve) => {
  state.hot = curve ? curve.id : null;
  for (const node of root.querySelectorAll("[data-curve]")) {
    node.classList.toggle("hot", node.dataset.curve === state.hot);
    node.classList.toggle("cold", state.hot !== null && node.dataset.curve !== state.hot);
  }
};

// The range of the axis: one method far from all others would leave the others no room.
const fence = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const reach = FENCE * (at(0.75) - at(0.25));
  return sorted.length < 8 ? [-Infinity, Infinity] : [at(0.25) - reach, at(0.75) + reach];
};

const drawPlot = () => {
  plot.replaceChildren();
  if (!setOf()) return;
  const valueOf = (point) => point.values[state.metric];
  const chosen = listed().filter(isOn);
  const [low, high] = fence(chosen.flatMap(pointsOf).map(valueOf));
  const shown = chosen.filter((curve) => pointsOf(curve).every((point) => valueOf(point) >= low && valueOf(point) <= high));
  const outliers = chosen.filter((curve) => !shown.includes(curve));
  find(".p-outliers").textContent = outliers.length
    ? "Beyond this axis: " + outliers.map((curve) => curve.label + " (" + pointsOf(curve).map((point) => valueOf(point).toFixed(columnOf().decimals)).join(", ") + ")").join("; ") + ". Choose it alone to see it."
    : "";
  if (!shown.length) {
    plot.append(make("p", "v-empty-plot", listed().length ? "Choose a method." : "No curve has this metric in this range of rates."));
    return;
  }
  const points = shown.flatMap(pointsOf);
  const column = columnOf();
  const all = shown.length <= NAMED;
  const frame = makeFrame(plot, points.map((point) => point.bpp), points.map((point) => point.values[state.metric]), column.name, all ? 11 : shown.some((curve) => curve.kind === "ours") ? 12 : 1);
  const ends = [];
  for (const curve of shown) {
    const line = pointsOf(curve);
    const place = (point) => frame.x(point.bpp) + " " + frame.y(point.values[state.metric]);
    const group = svg("g", { class: "p-line p-" + curve.kind + (curve.measured ? " p-measured" : "") });
    group.dataset.curve = curve.id;
    group.append(svg("path", { class: "p-path", d: line.map((point, i) => (i ? "L" : "M") + place(point)).join("") }));
    for (const point of line) {
      const words = curve.label + ": " + column.name + " " + point.values[state.metric].toFixed(column.decimals) + " at " + point.bpp.toFixed(4) + " bpp";
      const mark = svg("g", { transform: "translate(" + place(point) + ")", class: "p-mark" + (point.over ? " over" : "") });
      mark.append(svg("circle", { r: 12, fill: "transparent" }), svg("path", { d: markOf(curve) }), svg("title", {}, words));
      group.append(mark);
    }
    group.addEventListener("pointerenter", () => heat(curve));
    group.addEventListener("pointerleave", () => heat(null));
    frame.drawing.append(group);
    const last = line[line.length - 1];
    if (all || curve.kind === "ours") ends.push({ label: curve.label, kind: "p-" + curve.kind, y: frame.y(last.values[state.metric]) });
  }
  nameEnds(ends, frame);
  plot.append(frame.drawing);
};

const drawList = () => {
  const list = find(".p-list");
  list.replaceChildren();
  let kind = null;
  for (const curve of listed()) {
    if (curve.kind !== kind) list.append(make("h4", "p-kind", KINDS[(kind = curve.kind)] || kind));
    const row = make("div", "p-row p-" + curve.kind);
    row.dataset.curve = curve.id;
    const label = make("label");
    const box = make("input");
    box.type = "checkbox";
    box.checked = isOn(curve);
    box.addEventListener("change", () => {
      if (box.checked) state.off.delete(keyOf(curve));
      else state.off.add(keyOf(curve));
      drawPlot();
      drawTable();
    });
    const swatch = svg("svg", { viewBox: "-15 -7 30 14", width: 30, height: 14, "aria-hidden": "true", class: curve.measured ? "p-measured" : "" });
    swatch.append(svg("path", { class: "p-path", d: "M-15 0H15" }), svg("path", { class: "p-swatch", d: markOf(curve) }));
    label.append(box, swatch, make("span", "", curve.label));
    row.append(label);
    const { links, number, title } = curve.source;
    if (links.length) row.append(outside(links[0][1], "source " + number, "source " + number + " of " + curve.label + ": " + title));
    row.addEventListener("pointerenter", () => isOn(curve) && heat(curve));
    row.addEventListener("pointerleave", () => heat(null));
    list.append(row);
  }
};

const drawTable = () => {
  const table = make("table"), head = make("tr"), column = columnOf();
  for (const text of ["Method", "Source", "bpp", column.name + (column.unit ? ", " + column.unit : "")]) {
    const cell = make("th", "", text);
    cell.scope = "col";
    head.append(cell);
  }
  table.append(make("thead"), make("tbody"));
  table.tHead.append(head);
  for (const curve of listed().filter(isOn))
    for (const point of pointsOf(curve)) {
      const row = make("tr"), name = make("th", "", curve.label);
      name.scope = "row";
      row.append(name, make("td", "", curve.measured ? "measured here" : "[" + curve.source.number + "] " + curve.source.how), make("td", "", point.bpp.toFixed(4)), make("td", "", point.values[state.metric].toFixed(column.decimals)));
      table.tBodies[0].append(row);
    }
  find(".p-table .v-table").replaceChildren(table);
};

const drawSources = () => {
  const sources = new Map();
  for (const curve of setOf().curves) {
    const key = curve.measured ? "ours" : curve.source.number;
    sources.set(key, [...(sources.get(key) || []), curve]);
  }
  find(".p-sources ol").replaceChildren(
    ...[...sources.values()].map((curves) => {
      const { number, name, how } = curves[0].source;
      const item = make("li");
      item.append(make("b", "", number ? "[" + number + "] " + name + ", " + how : curves[0].source.title));
      for (const curve of curves) {
        const line = make("p");
        line.append(make("span", "p-of", curve.label));
        if (!curve.measured) line.append(make("span", "p-how", [curve.source.title, curve.source.remark].filter(Boolean).join("; ")));
        for (const [word, url] of curve.source.links) line.append(outside(url, word, word + " of " + curve.label + ": " + curve.source.title), " ");
        item.append(line);
      }
      return item;
    }),
  );
  const reasons = new Map();
  for (const curve of setOf().curves)
    if (curve.left_out[state.metric]) {
      const reason = curve.left_out[state.metric];
      reasons.set(reason, (reasons.get(reason) || new Set()).add(curve.label));
    }
  find(".p-left-out").replaceChildren(
    ...[...reasons].map(([reason, labels]) => make("li", "", "Not on this axis, " + reason + ": " + [...labels].join(", "))),
  );
};

const button = (label, pressed, act) => {
  const node = make("button", "", label);
  node.type = "button";
  node.setAttribute("aria-pressed", String(pressed));
  node.addEventListener("click", act);
  return node;
};

const draw = () => {
  sets = props.value && props.value.sets ? props.value.sets : [];
  root.classList.toggle("empty", !sets.length);
  if (!sets.length) return;
  if (!setOf()) state.set = sets[0].id;
  if (!columnOf()) state.metric = setOf().columns[0].id;
  const column = columnOf();
  find("h2").textContent = setOf().label;
  find(".v-title p").textContent = column.name + (column.unit ? ", " + column.unit : "") + ": " + column.better + " is better; dashed lines are published, solid ones were measured here";
  find(".p-sets").replaceChildren(...sets.map((entry) => button(entry.label, entry.id === state.set, () => ((state.set = entry.id), draw()))));
  find(".p-metrics").replaceChildren(...setOf().columns.map((entry) => button(entry.name.replace(" (256-pixel patches)", ""), entry.id === state.metric, () => ((state.metric = entry.id), draw()))));
  for (const node of root.querySelectorAll(".p-range button")) node.setAttribute("aria-pressed", String(Number(node.dataset.most) === state.most));
  drawPlot();
  drawList();
  drawTable();
  drawSources();
};

find(".p-range").addEventListener("click", (event) => {
  if (!event.target.dataset.most) return;
  state.most = Number(event.target.dataset.most);
  draw();
});
find(".p-all").addEventListener("click", (event) => {
  if (!event.target.dataset.all) return;
  for (const curve of listed()) state.off[event.target.dataset.all === "1" ? "delete" : "add"](keyOf(curve));
  draw();
});
new ResizeObserver(drawPlot).observe(root);
watch("value", draw);
draw();
