() => {
  // Light and dark follow the system until somebody chooses.
  const stored = localStorage.getItem("sprdiff-theme");
  const asked = new URLSearchParams(location.search).get("__theme");
  if (stored && !asked) document.body.classList.toggle("dark", stored === "dark");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "theme-button";
  const name = () => {
    const dark = document.body.classList.contains("dark");
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-label", dark ? "Switch to the light page" : "Switch to the dark page");
  };
  button.addEventListener("click", () => {
    const dark = document.body.classList.toggle("dark");
    localStorage.setItem("sprdiff-theme", dark ? "dark" : "light");
    name();
    document.dispatchEvent(new Event("sprdiff-theme"));
  });
  name();
  const place = () => {
    const masthead = document.querySelector(".masthead");
    if (masthead) masthead.append(button);
    else requestAnimationFrame(place);
  };
  place();
  // On a narrow page the pictures lie below the controls: a run brings them into view.
  document.addEventListener("click", (event) => {
    const viewer = document.querySelector("#viewer");
    if (!event.target.closest("#run") || !matchMedia("(max-width: 900px)").matches || !viewer) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    viewer.scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  });
}
