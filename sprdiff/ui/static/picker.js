// Runs once per picker: choose, drop or paste a file, upload it as it is, and say where it went.
const input = element.querySelector("input[type=file]");
const label = element.querySelector(".picker");
const nameLine = element.querySelector(".picker-name");
const problem = element.querySelector(".picker-problem");
const isOpen = () => element.offsetParent !== null;

const pick = async (file) => {
  problem.hidden = true;
  nameLine.textContent = "Reading " + file.name;
  label.classList.add("busy");
  try {
    const stored = await upload(file);
    nameLine.textContent = file.name;
    trigger("picked", { path: stored.path, name: file.name });
  } catch (error) {
    nameLine.textContent = "";
    problem.textContent = "The file could not be sent: " + (error && error.message ? error.message : error);
    problem.hidden = false;
  } finally {
    label.classList.remove("busy");
    input.value = "";
  }
};

const firstFile = (data) => (data && data.files && data.files.length ? data.files[0] : null);

input.addEventListener("change", () => {
  if (input.files.length) pick(input.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = firstFile(event.clipboardData);
  if (file && isOpen()) pick(file);
});
document.addEventListener("dragover", (event) => {
  if (!isOpen() || !event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  label.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) label.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  const file = firstFile(event.dataTransfer);
  label.classList.remove("over");
  if (!file || !isOpen()) return;
  event.preventDefault();
  pick(file);
});
