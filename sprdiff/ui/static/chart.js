// Runs once: draws the curves as SVG. Bitrate on a log axis, one metric at a time, every line named at its end.
const root = element.querySelector(".chart-part");
const find = (selector) => root.querySelector(selector);
const plot = find(".c-plot");
let shown = { points: [], columns: [] };
let metric = null;
let picked = null;

const link = (file, text) => {
  const node = make("a", "v-download", text);
  node.href = file.url;
  node.download = file.orig_name;
  return node;
};
const cellOf = (point) => point.cells.find((cell) => cell.id === metric);

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
  const column = shown.columns.find((entry) => entry.id === metric);
  const frame = makeFrame(plot, points.map((point) => point.bpp), points.map((point) => cellOf(point).number), column.name, 8.5);
  const { drawing, x, y } = frame;
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
      mark.append(svg("circle", { r: 14, fill: "transparent" }), svg("path", { d: MARKS[index % MARKS.length] }), svg("title", {}, words));
      mark.addEventListener("click", () => pick(point));
      mark.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pick(point);
      });
      group.append(mark);
    }
    const last = line[line.length - 1];
    ends.push({ label, kind, y: y(cellOf(last).number) });
    drawing.append(group);
  });
  nameEnds(ends, frame);
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
