// Two pictures of one size, and a handle between them. props.before and props.after are addresses of pictures or "",
// props.empty is what is said while there are none.

const figure = element.querySelector(".pp-compare");
const slider = element.querySelector("input");
const button = element.querySelector("button");

function move() {
  figure.style.setProperty("--at", `${slider.value}%`);
}

function show() {
  figure.dataset.empty = String(!props.after);
  element.querySelector(".pp-empty").textContent = props.empty;
  for (const name of ["before", "after"]) {
    const picture = element.querySelector(`.pp-${name}`);
    if (props[name]) picture.src = props[name];
    else picture.removeAttribute("src");
  }
}

button.addEventListener("click", () => {
  const large = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(large));
  button.textContent = large ? "Fit" : "Enlarge";
  figure.dataset.large = String(large);
});
element.querySelector(".pp-after").addEventListener("load", (event) => {
  const { naturalWidth: width, naturalHeight: height } = event.target;
  figure.style.setProperty("--widest", `${(72 * width) / height}vh`);
});
slider.addEventListener("input", move);
watch(["before", "after"], show);
watch("round", () => {
  if (!props.after) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  requestAnimationFrame(() => figure.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" }));
});
move();
show();
