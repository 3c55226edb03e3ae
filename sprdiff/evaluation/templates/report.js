const table = document.getElementById("rows"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
const all = [...body.rows];
const valueOf = (row, column) => {
  const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent;
  if (text === "") return null;  // a dash
  const number = Number(text);
  return Number.isNaN(number) ? text : number;
};
heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  all.sort((first, second) => {
    const a = valueOf(first, column), b = valueOf(second, column);
    if (a === null || b === null) return (a === null) - (b === null);  // dashes last, either way
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
    return ascending ? order : -order;
  });
  body.append(...all);
}));

const image = document.getElementById("filter-image"), count = document.getElementById("count");
const choices = [[document.getElementById("filter-method"), 1], [document.getElementById("filter-budget"), 2]];
for (const [select, column] of choices)
  for (const text of new Set(all.map((row) => row.cells[column].textContent))) select.append(new Option(text, text));
const filter = () => {
  let shown = 0;
  for (const row of all) {
    const fits = row.cells[0].textContent.toLowerCase().includes(image.value.toLowerCase())
      && choices.every(([select, column]) => !select.value || row.cells[column].textContent === select.value);
    row.hidden = !fits;
    shown += fits;
  }
  count.textContent = `${shown} of ${all.length} rows`;
};
image.addEventListener("input", filter);
for (const [select] of choices) select.addEventListener("change", filter);
filter();

const full = document.getElementById("full");
const show = (picture) => { full.firstElementChild.src = picture.src; full.firstElementChild.alt = picture.alt; full.showModal(); };
for (const picture of document.querySelectorAll(".panels img")) {
  picture.addEventListener("click", () => show(picture));
  picture.addEventListener("keydown", (event) => { if (event.key === "Enter") show(picture); });
}
full.addEventListener("click", () => full.close());
