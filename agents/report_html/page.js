"use strict";
// One cursor for all curves: point at a step in any of them, or move the slider, and each tells its value there.
const curves = [...document.querySelectorAll("figure.curve")].map((figure) => {
  const svg = figure.querySelector("svg");
  const points = [...svg.querySelectorAll(".strips rect")].map((strip) => {
    const title = strip.querySelector("title");
    const value = title.textContent.slice(title.textContent.indexOf(": ") + 2);
    title.remove(); // the readout says it, at once and by touch, too
    return { step: Number(strip.dataset.step), x: strip.dataset.x, y: strip.dataset.y, value };
  });
  const make = (name, attributes) => {
    const node = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    svg.insertBefore(node, svg.querySelector(".strips"));
    return node;
  };
  const line = make("line", { class: "cursor", y1: 10, y2: 134, visibility: "hidden" });
  const dot = make("circle", { class: "cursor", r: 4, visibility: "hidden" });
  return { svg, points, line, dot, value: figure.querySelector(".value b"), step: figure.querySelector(".value span") };
});
const steps = [...new Set(curves.flatMap((curve) => curve.points.map((point) => point.step)))].sort((a, b) => a - b);

function nearest(points, step) {
  let best = points[0];
  for (const point of points) if (Math.abs(point.step - step) < Math.abs(best.step - step)) best = point;
  return best;
}

function read(step) {
  for (const curve of curves) {
    const point = nearest(curve.points, step);
    curve.value.textContent = point.value;
    curve.step.textContent = "step " + point.step;
    curve.line.setAttribute("x1", point.x);
    curve.line.setAttribute("x2", point.x);
    curve.line.setAttribute("visibility", "visible");
    curve.dot.setAttribute("visibility", point.y === undefined ? "hidden" : "visible");
    if (point.y !== undefined) {
      curve.dot.setAttribute("cx", point.x);
      curve.dot.setAttribute("cy", point.y);
    }
  }
}

const reader = document.getElementById("reader");
if (reader && steps.length > 1) {
  const slider = reader.querySelector("input");
  const told = reader.querySelector("output");
  const tell = (index) => {
    slider.value = index;
    slider.setAttribute("aria-valuetext", "step " + steps[index]);
    told.textContent = "step " + steps[index];
    read(steps[index]);
  };
  slider.max = steps.length - 1;
  slider.value = steps.length - 1;
  told.textContent = "step " + steps[steps.length - 1];
  reader.hidden = false;
  slider.addEventListener("input", () => tell(Number(slider.value)));
  for (const curve of curves) {
    const point = (event) => {
      const box = curve.svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * curve.svg.viewBox.baseVal.width;
      let best = curve.points[0];
      for (const one of curve.points) if (Math.abs(one.x - x) < Math.abs(best.x - x)) best = one;
      tell(steps.indexOf(best.step));
    };
    curve.svg.addEventListener("pointermove", point);
    curve.svg.addEventListener("pointerdown", point);
  }
}
// Folded parts are opened for paper, and folded again after.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.episode:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of opened) part.open = false;
});
