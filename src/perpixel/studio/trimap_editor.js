// The drawing area of Cut out: a photograph, marks on it, and the trimap with its repairs.
//
// Given by Gradio: element, props, watch. props.photo is {url, width, height} or null, props.trimap the address of a
// grey picture or null; props.round changes with each new photograph or trimap. props.value is what the server reads:
// JSON of {round, step, marks, repairs}, in pixels of the whole photograph. It holds all there is to remember, because
// Gradio may build this element anew when its tab comes back.

const EMPTY = { round: "", step: "mark", marks: [], repairs: [] };
const COLOURS = {
  foreground: "rgba(20, 200, 165, 0.75)",
  background: "rgba(255, 70, 110, 0.75)",
  unknown: "rgba(255, 178, 0, 0.55)",
};
const OVERLAY = { 0: [12, 12, 18, 165], 128: [255, 178, 0, 120], 255: [0, 0, 0, 0] };
const GREYS = { background: "#000", unknown: "#808080", foreground: "#fff" };
const DARK = "rgba(12, 12, 18, 0.65)";
const HINTS = {
  mark: {
    box: "Drag a box around the whole subject, then press Cut out.",
    foreground: "Click or paint on the subject.",
    background: "Click or paint on what does not belong to the subject.",
  },
  repair: {
    foreground: "Paint what surely is the subject.",
    background: "Paint what surely is background.",
    unknown: "Paint over hair, fur and soft edges: the model finds out what they are.",
  },
};

const find = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const stage = find(".pp-stage");
const sheet = find(".pp-sheet");
const photo = find(".pp-photo");
const canvas = find(".pp-paint");
const brush = find(".pp-size input");
const pen = canvas.getContext("2d");

let drawing = EMPTY;
let undone = [];
let tool = "box";
let view = "overlay";
let zoom = 1;
let active = null; // the stroke or box being drawn
let cross = null; // the keyboard's cross, in pixels of the photograph
let hover = null; // the pointer, for the ring of the brush
let tint = null; // the trimap as an overlay
let grey = null; // the trimap as it is
let waiting = false;
const fingers = new Map();

const size = () => (props.photo ? [props.photo.width, props.photo.height] : [1, 1]);
const actions = () => (drawing.step === "mark" ? drawing.marks : drawing.repairs);
const radius = () => Math.max(0.5, (brush.value / 1000) * Math.max(...size()) * 0.5);

function read() {
  try {
    drawing = { ...EMPTY, ...JSON.parse(props.value || "{}") };
  } catch {
    drawing = { ...EMPTY };
  }
  if (drawing.round !== props.round) {
    // A new photograph or trimap came from the server.
    const first = !props.trimap;
    drawing = { ...EMPTY, ...drawing, round: props.round, repairs: [], step: first ? "mark" : "repair" };
    undone = [];
    if (!first) {
      tool = "unknown";
      view = "overlay";
    } else {
      tool = "box";
      zoom = 1;
      cross = null;
    }
    write();
  }
}

function write() {
  props.value = JSON.stringify(drawing);
}

function change(list) {
  if (drawing.step === "mark") drawing.marks = list;
  else drawing.repairs = list;
  write();
  show();
}

function add(action) {
  undone = [];
  change([...actions(), action]);
}

function undo() {
  const list = actions();
  if (list.length) {
    undone.push(list[list.length - 1]);
    change(list.slice(0, -1));
  }
}

function redo() {
  if (undone.length) change([...actions(), undone.pop()]);
}

// ---- what is seen -------------------------------------------------------------------------------------------------

function loadTrimap() {
  tint = grey = null;
  if (!props.trimap) return draw();
  const picture = new Image();
  picture.onload = () => {
    const make = (table) => {
      const layer = document.createElement("canvas");
      layer.width = picture.naturalWidth;
      layer.height = picture.naturalHeight;
      const context = layer.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      if (table) {
        const pixels = context.getImageData(0, 0, layer.width, layer.height);
        for (let i = 0; i < pixels.data.length; i += 4) {
          const value = pixels.data[i];
          pixels.data.set(table[value < 64 ? 0 : value < 192 ? 128 : 255], i);
        }
        context.putImageData(pixels, 0, 0);
      }
      return layer;
    };
    tint = make(OVERLAY);
    grey = make(null);
    draw();
  };
  picture.src = props.trimap;
}

function path(points, scale) {
  pen.beginPath();
  pen.moveTo(points[0][0] * scale, points[0][1] * scale);
  if (points.length === 1) pen.lineTo(points[0][0] * scale + 0.01, points[0][1] * scale);
  for (const [x, y] of points.slice(1)) pen.lineTo(x * scale, y * scale);
  pen.stroke();
}

function stroke(action, scale, solid) {
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = 2 * action.radius * scale;
  if (drawing.step === "mark") {
    pen.strokeStyle = COLOURS[action.tool];
    return path(action.points, scale);
  }
  if (solid) {
    pen.strokeStyle = GREYS[action.tool];
    return path(action.points, scale);
  }
  // A repair replaces the tint that is there instead of adding to it.
  pen.globalCompositeOperation = "destination-out";
  pen.strokeStyle = "#000";
  path(action.points, scale);
  pen.globalCompositeOperation = "source-over";
  if (action.tool !== "foreground") {
    pen.strokeStyle = action.tool === "unknown" ? COLOURS.unknown : DARK;
    path(action.points, scale);
  }
}

function boxes(list) {
  return list.filter((action) => action.tool === "box").slice(-1);
}

function drawBox([x0, y0, x1, y1], scale, line) {
  const [left, top] = [Math.min(x0, x1) * scale, Math.min(y0, y1) * scale];
  const [wide, high] = [Math.abs(x1 - x0) * scale, Math.abs(y1 - y0) * scale];
  pen.save();
  pen.fillStyle = "rgba(12, 12, 18, 0.45)";
  pen.beginPath();
  pen.rect(0, 0, canvas.width, canvas.height);
  pen.rect(left, top, wide, high);
  pen.fill("evenodd");
  pen.lineWidth = 2 * line;
  pen.strokeStyle = "rgba(0, 0, 0, 0.65)";
  pen.strokeRect(left, top, wide, high);
  pen.strokeStyle = "#fff";
  pen.setLineDash([7 * line, 5 * line]);
  pen.strokeRect(left, top, wide, high);
  pen.restore();
}

function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    paint();
  });
}

function paint() {
  pen.globalCompositeOperation = "source-over";
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!props.photo) return;
  const scale = canvas.width / props.photo.width;
  const line = canvas.width / Math.max(1, canvas.clientWidth); // one pixel of the screen
  const repairing = drawing.step === "repair";
  const list = active ? [...actions(), active] : actions();
  const solid = repairing && view === "trimap";
  if (repairing && view !== "photo") {
    const layer = solid ? grey : tint;
    if (layer) pen.drawImage(layer, 0, 0, canvas.width, canvas.height);
    for (const action of list) stroke(action, scale, solid);
  } else if (!repairing) {
    for (const action of boxes(list)) drawBox(action.box, scale, line);
    for (const action of list) if (action.tool !== "box") stroke(action, scale, false);
  }
  const at = cross || hover;
  if (at && tool !== "box") ring(at[0] * scale, at[1] * scale, radius() * scale, line);
  if (cross) mark(cross[0] * scale, cross[1] * scale, 12 * line, line);
}

function ring(x, y, r, line) {
  for (const [width, colour] of [[3, "rgba(0, 0, 0, 0.6)"], [1.3, "#fff"]]) {
    pen.beginPath();
    pen.arc(x, y, Math.max(r, 2 * line), 0, 2 * Math.PI);
    pen.lineWidth = width * line;
    pen.strokeStyle = colour;
    pen.stroke();
  }
}

function mark(x, y, arm, line) {
  for (const [width, colour] of [[4, "rgba(0, 0, 0, 0.6)"], [1.5, "#fff"]]) {
    pen.beginPath();
    pen.moveTo(x - arm, y);
    pen.lineTo(x + arm, y);
    pen.moveTo(x, y - arm);
    pen.lineTo(x, y + arm);
    pen.lineWidth = width * line;
    pen.strokeStyle = colour;
    pen.stroke();
  }
}

function show() {
  const repairing = drawing.step === "repair";
  if (!HINTS[drawing.step][tool]) tool = repairing ? "unknown" : "box";
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  for (const button of all("[data-step]")) {
    press(button, button.dataset.step === drawing.step);
    button.disabled = button.dataset.step === "repair" && !props.trimap;
  }
  for (const button of all("[data-tool]")) {
    press(button, button.dataset.tool === tool);
    button.hidden = !HINTS[drawing.step][button.dataset.tool];
  }
  for (const button of all("[data-view]")) press(button, button.dataset.view === view);
  find(".pp-views").hidden = !repairing;
  find(".pp-size").hidden = tool === "box";
  find("[data-act=undo]").disabled = !actions().length;
  find("[data-act=redo]").disabled = !undone.length;
  find("[data-act=clear]").disabled = !actions().length;
  find("[data-act=out]").disabled = zoom <= 1;
  find(".pp-hint").textContent = props.photo ? HINTS[drawing.step][tool] : "";
  find(".pp-editor").dataset.step = drawing.step;
  sheet.style.width = `${100 * zoom}%`;
  fit();
  draw();
}

// The sheet is as wide as the stage, or less where the photograph would be too high for the window.
function fit() {
  if (!props.photo) return;
  const [width, height] = size();
  stage.style.setProperty("--aspect", `${width} / ${height}`);
  stage.style.setProperty("--widest", `${(64 * width) / height}vh`);
}

function open() {
  read();
  if (props.photo) {
    photo.src = props.photo.url;
    const shrink = Math.min(1, 2048 / Math.max(...size()));
    canvas.width = Math.max(1, Math.round(props.photo.width * shrink));
    canvas.height = Math.max(1, Math.round(props.photo.height * shrink));
  } else {
    photo.removeAttribute("src");
  }
  loadTrimap();
  show();
}

// ---- pointer, fingers, keys ---------------------------------------------------------------------------------------

function place(event) {
  const rectangle = canvas.getBoundingClientRect();
  const [width, height] = size();
  const x = ((event.clientX - rectangle.left) / rectangle.width) * width;
  const y = ((event.clientY - rectangle.top) / rectangle.height) * height;
  return [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)].map((v) => Math.round(v * 10) / 10);
}

function begin(at) {
  active = tool === "box" ? { tool, box: [...at, ...at] } : { tool, radius: radius(), points: [at] };
}

function extend(at) {
  if (active.tool === "box") active.box = [active.box[0], active.box[1], ...at];
  else {
    const [x, y] = active.points[active.points.length - 1];
    if (Math.hypot(at[0] - x, at[1] - y) > Math.max(...size()) / 1500) active.points.push(at);
  }
  draw();
}

function finish() {
  const done = active;
  active = null;
  if (!done) return;
  if (done.tool !== "box") return add(done);
  const [x0, y0, x1, y1] = done.box;
  const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)].map(Math.round);
  if (box[2] - box[0] >= 2 && box[3] - box[1] >= 2) add({ tool: "box", box });
  else draw();
}

function enlarge(factor, at) {
  const before = zoom;
  zoom = Math.min(8, Math.max(1, zoom * factor));
  const [left, top] = at || [stage.clientWidth / 2, stage.clientHeight / 2];
  const grown = zoom / before;
  const [x, y] = [(stage.scrollLeft + left) * grown - left, (stage.scrollTop + top) * grown - top];
  show();
  stage.scrollTo(x, y);
}

function middle() {
  const points = [...fingers.values()];
  const x = (points[0][0] + points[1][0]) / 2;
  const y = (points[0][1] + points[1][1]) / 2;
  return [x, y, Math.hypot(points[0][0] - points[1][0], points[0][1] - points[1][1])];
}

canvas.addEventListener("pointerdown", (event) => {
  if (!props.photo || (event.pointerType === "mouse" && event.button !== 0)) return;
  event.preventDefault();
  stage.focus({ preventScroll: true });
  cross = null;
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  canvas.setPointerCapture(event.pointerId);
  if (fingers.size > 1) active = null; // two fingers move the sheet
  else begin(place(event));
  draw();
});

canvas.addEventListener("pointermove", (event) => {
  if (!props.photo) return;
  hover = event.pointerType === "touch" ? null : place(event);
  if (fingers.size === 2 && fingers.has(event.pointerId)) {
    const [x, y, apart] = middle();
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    const [newX, newY, newApart] = middle();
    const corner = stage.getBoundingClientRect();
    stage.scrollBy(x - newX, y - newY);
    if (apart > 0) enlarge(newApart / apart, [newX - corner.left, newY - corner.top]);
  } else if (active && fingers.has(event.pointerId)) {
    for (const each of event.getCoalescedEvents?.() ?? []) extend(place(each));
    extend(place(event));
  } else draw();
});

function release(event) {
  if (!fingers.delete(event.pointerId)) return;
  if (event.type === "pointerup") finish();
  else active = null;
  draw();
}
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerleave", () => {
  hover = null;
  draw();
});

stage.addEventListener(
  "wheel",
  (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const corner = stage.getBoundingClientRect();
    enlarge(Math.exp(-event.deltaY / 300), [event.clientX - corner.left, event.clientY - corner.top]);
  },
  { passive: false },
);

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function key(event) {
  const control = event.ctrlKey || event.metaKey;
  if (control && event.key.toLowerCase() === "z") event.shiftKey ? redo() : undo();
  else if (control && event.key.toLowerCase() === "y") redo();
  else if (control || event.altKey || !props.photo) return;
  else if (STEPS[event.key]) {
    const [width, height] = size();
    const far = (Math.max(width, height) / 200) * (event.shiftKey ? 8 : 1);
    const [x, y] = cross || [width / 2, height / 2];
    const [right, down] = STEPS[event.key];
    cross = [Math.min(Math.max(x + right * far, 0), width), Math.min(Math.max(y + down * far, 0), height)];
    if (active) extend(cross);
  } else if (event.key === " " || event.key === "Enter") {
    cross ||= size().map((side) => side / 2);
    if (active) finish();
    else begin(cross);
  } else if (event.key === "Escape" && active) active = null;
  else if (event.key === "[" || event.key === "]") {
    brush.value = Number(brush.value) * (event.key === "[" ? 0.8 : 1.25);
  } else if (event.key === "+" || event.key === "=") enlarge(1.5);
  else if (event.key === "-") enlarge(1 / 1.5);
  else return;
  event.preventDefault();
  event.stopPropagation();
  draw();
}
stage.addEventListener("keydown", key);
stage.addEventListener("blur", () => {
  cross = null;
  draw();
});

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.disabled) return;
  const { step, tool: chosen, view: seen, act } = button.dataset;
  if (step) {
    drawing.step = step;
    undone = [];
    write();
  }
  if (chosen) tool = chosen;
  if (seen) view = seen;
  if (act === "undo") undo();
  if (act === "redo") redo();
  if (act === "clear") change([]);
  if (act === "in") enlarge(1.5);
  if (act === "out") enlarge(1 / 1.5);
  show();
});
brush.addEventListener("input", () => {
  hover = size().map((side) => side / 2); // show the size where it can be seen
  draw();
});
brush.addEventListener("change", () => {
  hover = null;
  draw();
});
new ResizeObserver(draw).observe(stage);

watch(["photo", "trimap", "round"], open);
open();
