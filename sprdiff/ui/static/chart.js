// Runs once: draws the curves as SVG. Bitrate on a log axis, one metric at a time, every line named at its end.
const root = element.querySelector(".chart-part");
const find = (selector) => root.querySelector(selector);
const plot = find(".c-plot");
const TICKS = [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2];
const MARKS = { square: "M-4 -4H4V4H-4Z", diamond: "M0 -5.4L5.4 0L0 5.4L-5.4 0Z", up: "M0 -5L5 4H-5Z", down: "M0 5L5 -4H-5Z", cross: "M-4.5 -1.5H-1.5V-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5Z", bar: "M-2 -5H2V5H-2Z", wide: "M-5 -2H5V2H-5Z" };
const NAMES = Object.keys(MARKS);
let shown = { points: [], columns: [] };
let metric = null;
let picked = null;

const svg = (tag, attributes, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
};
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const link = (file, text) => {
  const node = make("a", "v-download", text);
  node.href = file.url;
  node.download = file.orig_name;
  return node;
};
const cellOf = (point) => point.cells.find((cell) => cell.id === metric);

const steps = (low, high) => {
  const rough = (high - low) / 8 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1000; value += step) ticks.push(value);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
};

const pick = (point) => {
  picked = point;
  const box = find(".c-shown");
  box.hidden = !point;
  if (!point) return;
  box.querySelector("img").src = shown.original.url;
  const figure = find(".c-point");
  figure.querySelector("img").src = point.picture.url;
  figure.querySelector("img").alt = point.label + ", " + point.facts.join(", ");
  const caption = figure.querySelector("figcaption");
  const facts = make("p", "v-facts", point.facts.join("  ·  "));
  const values = make("p", "", point.cells.map((cell, i) => shown.columns[i].label + " " + cell.text).join("  ·  "));
  const links = make("p", "v-links");
  links.append(link(point.file, "." + point.file.orig_name.split(".").pop()), link(point.picture, "PNG"));
  caption.replaceChildren(make("b", "", point.label), facts, values, links);
  if (point.over_budget) caption.append(make("span", "v-over-budget", "over budget"));
  for (const mark of plot.querySelectorAll(".c-mark"))
    mark.classList.toggle("picked", mark.dataset.key === point.method + point.target);
};

const drawPlot = () => {
  plot.replaceChildren();
  const points = shown.points.filter((point) => cellOf(point) && cellOf(point).number !== null);
  if (!points.length) {
    const cell = shown.points.length ? cellOf(shown.points[0]) : null;
    if (cell) plot.append(make("p", "v-empty-plot", cell.reason || "No values yet."));
    return;
  }
  const width = Math.max(plot.clientWidth, 320);
  const height = Math.min(620, Math.max(320, width * 0.55));
  const size = parseFloat(getComputedStyle(plot).fontSize);
  const room = { left: size * 3.6, right: Math.min(size * 8.5, width * 0.3), top: size, bottom: size * 3.2 };
  const rates = points.map((point) => Math.log(point.bpp));
  const values = points.map((point) => cellOf(point).number);
  const spread = (list, share) => {
    const low = Math.min(...list), high = Math.max(...list), pad = (high - low || Math.abs(high) || 1) * share;
    return [low - pad, high + pad];
  };
  const [x0, x1] = spread(rates, 0.06);
  const [y0, y1] = spread(values, 0.1);
  const x = (bpp) => room.left + ((Math.log(bpp) - x0) / (x1 - x0)) * (width - room.left - room.right);
  const y = (value) => height - room.bottom - ((value - y0) / (y1 - y0)) * (height - room.top - room.bottom);
  const column = shown.columns.find((entry) => entry.id === metric);
  const drawing = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "group", "aria-label": column.name + " against bits per pixel" });
  const { ticks, digits } = steps(y0, y1);
  for (const tick of ticks) {
    drawing.append(svg("line", { class: "c-grid", x1: room.left, x2: width - room.right, y1: y(tick), y2: y(tick) }));
    drawing.append(svg("text", { class: "c-tick", x: room.left - size * 0.6, y: y(tick) + size * 0.32, "text-anchor": "end" }, tick.toFixed(digits)));
  }
  for (const tick of TICKS.filter((t) => Math.log(t) > x0 && Math.log(t) < x1)) {
    drawing.append(svg("line", { class: "c-grid", x1: x(tick), x2: x(tick), y1: room.top, y2: height - room.bottom }));
    drawing.append(svg("text", { class: "c-tick", x: x(tick), y: height - room.bottom + size * 1.3, "text-anchor": "middle" }, tick));
  }
  drawing.append(svg("text", { class: "c-axis", x: (room.left + width - room.right) / 2, y: height - size * 0.4, "text-anchor": "middle" }, "bits per pixel, file bytes × 8 over width × height"));
  const methods = [...new Map(points.map((point) => [point.method, point.label]))];
  const ends = [];
  methods.forEach(([method, label], index) => {
    const line = points.filter((point) => point.method === method).sort((a, b) => a.bpp - b.bpp);
    const kind = method === "sprdiff-final" ? "final" : method === "sprdiff-coarse" ? "coarse" : "other";
    const group = svg("g", { class: "c-line c-" + kind });
    group.append(svg("path", { d: line.map((p, i) => (i ? "L" : "M") + x(p.bpp) + " " + y(cellOf(p).number)).join("") }));
    for (const point of line) {
      const where = "translate(" + x(point.bpp) + " " + y(cellOf(point).number) + ")";
      const words = label + ", target " + point.target + ", " + point.facts.join(", ") + ", " + column.label + " " + cellOf(point).text;
      const mark = svg("g", { class: "c-mark" + (point.over_budget ? " over" : ""), transform: where, tabindex: 0, role: "button", "aria-label": words });
      mark.dataset.key = point.method + point.target;
      mark.append(svg("circle", { r: 14, fill: "transparent" }), svg("path", { d: MARKS[NAMES[index % NAMES.length]] }), svg("title", {}, words));
      mark.addEventListener("click", () => pick(point));
      mark.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pick(point);
      });
      group.append(mark);
    }
    const last = line[line.length - 1];
    ends.push({ label, kind, x: x(last.bpp) + size * 0.8, y: y(cellOf(last).number) });
    drawing.append(group);
  });
  // Names that would touch are pushed apart.
  ends.sort((a, b) => a.y - b.y);
  ends.forEach((end, i) => (end.y = Math.max(end.y, i ? ends[i - 1].y + size * 1.15 : room.top)));
  for (const end of ends)
    drawing.append(svg("text", { class: "c-name c-name-" + end.kind, x: width - room.right + size * 0.6, y: end.y + size * 0.32 }, end.label));
  plot.append(drawing);
  if (picked) pick(shown.points.find((p) => p.method === picked.method && p.target === picked.target) || null);
};

const draw = () => {
  const value = props.value;
  shown = value && value.points ? value : { points: [], columns: [], title: "" };
  if (!shown.columns.some((column) => column.id === metric)) metric = shown.columns.length ? shown.columns[0].id : null;
  root.classList.toggle("empty", !shown.columns.length);
  find("h2").textContent = shown.title;
  const column = shown.columns.find((entry) => entry.id === metric);
  find(".v-title p").textContent = column ? column.name + (column.unit ? ", " + column.unit : "") + ": " + column.better + " is better; hollow marks are over budget" : "";
  if (!shown.points.length) pick(null);
  find(".c-metrics").replaceChildren(
    ...shown.columns.map((entry) => {
      const button = make("button", "", entry.label);
      button.type = "button";
      button.setAttribute("aria-pressed", String(entry.id === metric));
      button.addEventListener("click", () => ((metric = entry.id), draw()));
      return button;
    }),
  );
  find(".c-csv").replaceChildren(...(shown.csv ? [link(shown.csv, "The numbers as CSV")] : []));
  drawPlot();
};

new ResizeObserver(drawPlot).observe(root);
watch("value", draw);
draw();
