const stage = document.getElementById("stage"), line = document.getElementById("line");
const pictures = [...document.querySelectorAll(".picture")];
const sides = [["left", "under"], ["right", "over"]];
let cut = 50;
const cutAt = (share) => {
  cut = Math.min(Math.max(share, 0), 100);
  stage.style.setProperty("--cut", cut + "%");
  line.setAttribute("aria-valuenow", String(Math.round(cut)));
};
const show = () => {
  for (const [side, id] of sides) {
    const picture = pictures[Number(document.getElementById(side).value)], image = document.getElementById(id);
    image.src = picture.src;
    image.alt = picture.alt;
    document.getElementById(side + "-tag").textContent = picture.dataset.label + " " + picture.dataset.facts;
  }
};
for (const [side] of sides) document.getElementById(side).addEventListener("change", show);
const follow = (event) => {
  const box = stage.getBoundingClientRect();
  cutAt((100 * (event.clientX - box.left)) / box.width);
};
stage.addEventListener("pointerdown", (event) => {
  stage.setPointerCapture(event.pointerId);
  follow(event);
});
stage.addEventListener("pointermove", (event) => {
  if (stage.hasPointerCapture(event.pointerId)) follow(event);
});
line.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  cutAt(cut + step);
});
cutAt(50);
show();
