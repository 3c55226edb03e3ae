// What both charts are made of: nodes, marks, ticks, and the frame with a logarithmic axis of rates.
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
const TICKS = [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2];
const MARKS = ["M-4 -4H4V4H-4Z", "M0 -5.4L5.4 0L0 5.4L-5.4 0Z", "M0 -5L5 4H-5Z", "M0 5L5 -4H-5Z", "M-4.5 -1.5H-1.5V-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5Z", "M-2 -5H2V5H-2Z", "M-5 -2H5V2H-5Z"];

const steps = (low, high) => {
  const rough = (high - low) / 8 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1000; value += step) ticks.push(value);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
};

const spread = (list, share) => {
  const low = Math.min(...list), high = Math.max(...list), pad = (high - low || Math.abs(high) || 1) * share;
  return [low - pad, high + pad];
};

// An SVG with grid, ticks and axis name, and the functions that place a rate and a value on it.
const makeFrame = (plot, rates, values, name, right) => {
  const width = Math.max(plot.clientWidth, 320);
  const height = Math.min(Math.max(680, innerHeight * 0.62), Math.max(340, width * 0.55));
  const size = parseFloat(getComputedStyle(plot).fontSize);
  const room = { left: size * 3.6, right: Math.min(size * right, width * 0.36), top: size, bottom: size * 3.2 };
  const [x0, x1] = spread(rates.map(Math.log), 0.06);
  const [y0, y1] = spread(values, 0.1);
  const x = (bpp) => room.left + ((Math.log(bpp) - x0) / (x1 - x0)) * (width - room.left - room.right);
  const y = (value) => height - room.bottom - ((value - y0) / (y1 - y0)) * (height - room.top - room.bottom);
  const drawing = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "group", "aria-label": name + " against bits per pixel" });
  const { ticks, digits } = steps(y0, y1);
  for (const tick of ticks) {
    drawing.append(svg("line", { class: "c-grid", x1: room.left, x2: width - room.right, y1: y(tick), y2: y(tick) }));
    drawing.append(svg("text", { class: "c-tick", x: room.left - size * 0.6, y: y(tick) + size * 0.32, "text-anchor": "end" }, tick.toFixed(digits)));
  }
  let end = -Infinity; // of the last label, so that none touches the next on a narrow plot
  for (const tick of TICKS.filter((t) => Math.log(t) > x0 && Math.log(t) < x1)) {
    drawing.append(svg("line", { class: "c-grid", x1: x(tick), x2: x(tick), y1: room.top, y2: height - room.bottom }));
    if (x(tick) - end < size * 2.4) continue;
    end = x(tick);
    drawing.append(svg("text", { class: "c-tick", x: x(tick), y: height - room.bottom + size * 1.3, "text-anchor": "middle" }, tick));
  }
  drawing.append(svg("text", { class: "c-axis", x: (room.left + width - room.right) / 2, y: height - size * 0.4, "text-anchor": "middle" }, "bits per pixel, file bytes × 8 over width × height"));
  return { drawing, x, y, width, height, size, room };
};

// Names at the ends of lines; those that would touch are pushed apart.
const nameEnds = (ends, { drawing, width, height, size, room }) => {
  ends.sort((a, b) => a.y - b.y);
  ends.forEach((end, i) => (end.y = Math.max(end.y, i ? ends[i - 1].y + size * 1.15 : room.top)));
  const over = ends.length ? ends[ends.length - 1].y - (height - room.bottom) : 0;
  if (over > 0) ends.reduceRight((below, end) => (end.y = Math.min(end.y, below)) - size * 1.15, height - room.bottom);
  for (const end of ends) {
    const x = width - room.right + size * 0.6;
    const text = svg("text", { class: "c-name c-name-" + end.kind, x, y: end.y + size * 0.32 }, end.label);
    drawing.append(text);
    // Measured on the page, since fonts differ: a name too long for the room is drawn narrower, never cut.
    requestAnimationFrame(() => {
      if (text.getComputedTextLength() <= width - x) return;
      text.setAttribute("textLength", width - x);
      text.setAttribute("lengthAdjust", "spacingAndGlyphs");
    });
  }
};
