// The 3-D view of Depth: the points in the colours of the photograph, seen first from beside the camera.
//
// Given by Gradio: element, props, watch. props.cloud is null or {count, data, middle, extent, reach, pitch, unit}:
// data is base64 of count × 4 int16 (x, y, z in parts of 32767 of extent around middle, one unused) and then
// count × 4 uint8 (red, green, blue, one unused); reach is [x, y], how far the photograph reaches to the side at
// distance 1; pitch is the width of one of its pixels at distance 1.

const VERTEX = `
attribute vec3 place;
attribute vec3 colour;
uniform mat4 view;
uniform vec3 middle;
uniform float extent, pitch, focal, most;
varying vec3 light;
void main() {
  vec3 point = middle + extent * place;
  gl_Position = view * vec4(point, 1.0);
  // As large as its pixel is there, so that a surface seen from the front has no holes.
  gl_PointSize = clamp(1.7 * focal * pitch * -point.z / gl_Position.w, 1.0, most);
  light = colour;
}`;
const FRAGMENT = `
precision mediump float;
varying vec3 light;
void main() { gl_FragColor = vec4(light, 1.0); }`;
const MARGIN = 1.06; // around the photograph in the first view
const STEP = Math.PI / 36; // of an arrow key
const LIMITS = { tilt: 1.45, near: 0.08, far: 8 };

const canvas = element.querySelector("canvas");
const note = element.querySelector(".points-note");
const gl = canvas.getContext("webgl", { antialias: true });
let program = null;
let count = 0;
let eye = null; // the angles, the distance from the target in parts of its own, and the shift of the target
let planned = 0;
const fingers = new Map();

const first = () => ({ turn: 0.32, tilt: 0.12, zoom: 1, shift: [0, 0, 0] }); // a little to the side: from the front it would be the photograph

function prepare() {
  program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.bindAttribLocation(program, 0, "place");
  gl.bindAttribLocation(program, 1, "colour");
  gl.linkProgram(program);
  gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST);
}

function load() {
  const cloud = props.cloud;
  count = 0;
  note.hidden = Boolean(cloud) && Boolean(gl);
  note.textContent = gl ? note.dataset.empty : note.dataset.without;
  if (cloud && gl) {
    if (!program) prepare();
    const bytes = Uint8Array.from(atob(cloud.data), (sign) => sign.charCodeAt(0));
    const parts = [bytes.subarray(0, cloud.count * 8), bytes.subarray(cloud.count * 8)];
    parts.forEach((part, attribute) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, part, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(attribute);
      const [kind, stride] = attribute ? [gl.UNSIGNED_BYTE, 4] : [gl.SHORT, 8];
      gl.vertexAttribPointer(attribute, 3, kind, true, stride, 0);
    });
    count = cloud.count;
    eye = eye || first();
  }
  canvas.dataset.points = count;
  canvas.dataset.drawn = Number(canvas.dataset.drawn || 0) + 1;
  plan();
}

// Column by column, as WebGL wants it.
function multiplied(a, b) {
  const result = new Float32Array(16);
  for (let column = 0; column < 4; column++)
    for (let row = 0; row < 4; row++)
      for (let k = 0; k < 4; k++) result[column * 4 + row] += a[k * 4 + row] * b[column * 4 + k];
  return result;
}

const target = () => [0, 0, props.cloud.middle[2]];

function matrix() {
  const [width, height] = [canvas.width, canvas.height];
  const { reach, middle, extent } = props.cloud;
  // The half angles that show the whole photograph, and what the longer of the two leaves on the other side.
  const up = MARGIN * Math.max(reach[1], (reach[0] * height) / width);
  const distance = -middle[2] * eye.zoom;
  const near = Math.max(distance * 0.01, distance - 3 * extent);
  const far = distance + 4 * extent;
  const lens = new Float32Array(16);
  lens[0] = height / width / up;
  lens[5] = 1 / up;
  lens[10] = (far + near) / (near - far);
  lens[11] = -1;
  lens[14] = (2 * far * near) / (near - far);
  const [a, b] = [eye.turn, eye.tilt];
  const [ca, sa, cb, sb] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b)];
  const turn = new Float32Array([ca, sa * sb, -sa * cb, 0, 0, cb, sb, 0, sa, -ca * sb, ca * cb, 0, 0, 0, 0, 1]);
  const [x, y, z] = target().map((value, axis) => -value - eye.shift[axis]);
  const away = new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, x, y, z, 1]);
  const back = new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, -distance, 1]);
  return { view: multiplied(lens, multiplied(back, multiplied(turn, away))), focal: height / 2 / up };
}

function draw() {
  planned = 0;
  if (!gl || !element.isConnected) return;
  const scale = Math.min(2, window.devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * scale)));
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  gl.viewport(0, 0, width, height);
  gl.clearColor(0.09, 0.09, 0.09, 1);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  if (!count) return;
  const { view, focal } = matrix();
  const at = (name) => gl.getUniformLocation(program, name);
  gl.uniformMatrix4fv(at("view"), false, view);
  gl.uniform3fv(at("middle"), props.cloud.middle);
  gl.uniform1f(at("extent"), props.cloud.extent);
  gl.uniform1f(at("pitch"), props.cloud.pitch);
  gl.uniform1f(at("focal"), focal);
  gl.uniform1f(at("most"), 40 * scale);
  gl.drawArrays(gl.POINTS, 0, count);
}

function plan() {
  planned = planned || requestAnimationFrame(draw);
}

const held = (value, low, high) => Math.min(high, Math.max(low, value));

function turned(across, down) {
  eye.turn += across;
  eye.tilt = held(eye.tilt + down, -LIMITS.tilt, LIMITS.tilt);
  plan();
}

function zoomed(factor) {
  eye.zoom = held(eye.zoom * factor, LIMITS.near, LIMITS.far);
  plan();
}

function moved(across, down) {
  const { reach, middle } = props.cloud;
  const step = (2 * Math.max(...reach) * -middle[2] * eye.zoom) / canvas.clientHeight;
  const [ca, sa] = [Math.cos(eye.turn), Math.sin(eye.turn)];
  eye.shift[0] -= across * step * ca;
  eye.shift[2] -= across * step * sa;
  eye.shift[1] += down * step;
  plan();
}

canvas.addEventListener("pointerdown", (event) => {
  if (!count) return;
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
});
canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before || !count) return;
  const now = [event.clientX, event.clientY];
  const [across, down] = [now[0] - before[0], now[1] - before[1]];
  const other = [...fingers].find(([id]) => id !== event.pointerId);
  fingers.set(event.pointerId, now);
  if (other) {
    const [x, y] = other[1];
    zoomed(Math.hypot(before[0] - x, before[1] - y) / Math.max(1, Math.hypot(now[0] - x, now[1] - y)));
    moved(across / 2, down / 2);
  } else if (event.shiftKey || event.buttons & 6) {
    moved(across, down);
  } else {
    turned(across * 0.006, down * 0.006);
  }
});
for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  if (!count) return;
  event.preventDefault();
  zoomed(Math.exp(held(event.deltaY, -100, 100) * 0.002));
}, { passive: false });
canvas.addEventListener("dblclick", () => { eye = first(); plan(); });
canvas.addEventListener("keydown", (event) => {
  if (!count) return;
  const deeds = {
    ArrowLeft: () => turned(-STEP, 0), ArrowRight: () => turned(STEP, 0),
    ArrowUp: () => turned(0, -STEP), ArrowDown: () => turned(0, STEP),
    "+": () => zoomed(0.9), "=": () => zoomed(0.9), "-": () => zoomed(1 / 0.9),
    Home: () => { eye = first(); plan(); }, 0: () => { eye = first(); plan(); },
  };
  if (!deeds[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  deeds[event.key]();
});

new ResizeObserver(plan).observe(canvas);
canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
canvas.addEventListener("webglcontextrestored", () => { program = null; load(); });
watch("cloud", load);
load();
