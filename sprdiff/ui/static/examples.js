// Runs once for the row of examples: a click names the picture.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-example]");
  if (button) trigger("pick", { name: button.dataset.example });
});
