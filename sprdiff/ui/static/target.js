// Runs once: the slider, the presets and the byte field are three ways to set one number.
const root = element.querySelector(".target");
const steps = root.dataset.steps.split(",").map(Number);
const range = root.querySelector(".target-range");
const bytes = root.querySelector(".target-bytes input");
const count = (number) => number.toLocaleString("en-US") + (number === 1 ? " byte" : " bytes");
// The same order of operations as sprdiff.metrics.rate.max_bytes, so both floor the same number.
const budget = (bpp, size) => Math.floor((bpp * size[0] * size[1]) / 8);

const nearest = (bpp) =>
  steps.reduce((best, step, i) => (Math.abs(Math.log(step / bpp)) < Math.abs(Math.log(steps[best] / bpp)) ? i : best), 0);

const draw = () => {
  const { bpp, size } = props.value;
  const shown = Number(bpp.toPrecision(3));
  root.querySelector(".target-bpp").textContent = shown;
  range.value = nearest(bpp);
  range.setAttribute("aria-valuetext", shown + " bits per pixel");
  range.style.setProperty("--share", range.value / (steps.length - 1));
  for (const button of root.querySelectorAll(".preset"))
    button.setAttribute("aria-pressed", String(Number(button.dataset.bpp) === bpp));
  root.querySelector(".target-budget").textContent = size
    ? "at most " + count(budget(bpp, size)) + " for " + size[0] + " × " + size[1]
    : "";
  bytes.disabled = !size;
  if (size && document.activeElement !== bytes) bytes.value = budget(bpp, size);
};

const set = (bpp) => {
  props.value = { ...props.value, bpp };
  draw();
};

range.addEventListener("input", () => set(steps[Number(range.value)]));
root.addEventListener("click", (event) => {
  const button = event.target.closest(".preset");
  if (button) set(Number(button.dataset.bpp));
});
bytes.addEventListener("change", () => {
  const wanted = Math.round(Number(bytes.value));
  const { size } = props.value;
  // A hair more than the bytes, so that flooring gives them back.
  if (wanted >= 1 && size) set(((wanted + 0.001) * 8) / (size[0] * size[1]));
  else draw();
});
watch("value", draw);
draw();
