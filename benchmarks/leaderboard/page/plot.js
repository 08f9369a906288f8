// Two scatter plots: accuracy against what a question takes, and against searches.

const EFFORTS = {
  cost: { title: "cost", label: "cost a question", read: (row) => figure(macroOf(row), "cost") },
  seconds: { title: "time", label: "seconds a question", read: (row) => figure(macroOf(row), "seconds") },
  tokens: {
    title: "tokens",
    label: "tokens a question, read and written",
    read: (row) => {
      const [read, written] = ["prompt_tokens", "completion_tokens"].map((key) => figure(macroOf(row), key));
      return read === null && written === null ? null : (read || 0) + (written || 0);
    },
  },
};
const NARROW = matchMedia("(max-width: 700px)");
const HEIGHT = 320,
  LEFT = 34,
  RIGHT = 16,
  TOP = 26,
  BOTTOM = 40;
const plotWidth = () => (NARROW.matches ? 340 : 560);

function ticks(low, high, about) {
  const rough = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step)
    found.push(Number(at.toPrecision(12)));
  return found;
}

// Costs of models differ by orders of magnitude: a wide range is shown on a log scale, what costs nothing at its foot.
function scaleX(values) {
  const high = Math.max(...values, 0);
  const positive = values.filter((value) => value > 0);
  const low = Math.min(...positive);
  const span = plotWidth() - LEFT - RIGHT;
  if (positive.length > 1 && high / low > 40) {
    const first = Math.floor(Math.log10(low)),
      last = Math.ceil(Math.log10(high));
    const gutter = positive.length < values.length ? 34 : 0;
    const at = (value) =>
      value <= 0 ? LEFT + 8 : LEFT + gutter + ((Math.log10(value) - first) / (last - first)) * (span - gutter);
    const marks = Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
    return { at, marks: gutter ? [0, ...marks] : marks, log: true };
  }
  const marks = ticks(0, high || 1, NARROW.matches ? 4 : 6);
  const end = Math.max(high * 1.04, marks.at(-1)) || 1;
  return { at: (value) => LEFT + (value / end) * span, marks, log: false };
}

const SHAPES = {
  "closed-book": () => draw("circle", { r: 5 }),
  simulated: () => draw("rect", { x: -4.6, y: -4.6, width: 9.2, height: 9.2, rx: 1 }),
  real: () => draw("path", { d: "M0-6.6 6.6 0 0 6.6-6.6 0Z" }),
  mixed: () => draw("path", { d: "M0-6.2 6 5-6 5Z" }),
};

// No other row is both as good and as cheap: the rows worth a look, from the cheapest to the best.
function frontier(marks) {
  const ordered = marks.filter((mark) => mark.row.rank !== null).sort((a, b) => a.x - b.x || b.y - a.y);
  const kept = [];
  for (const mark of ordered) if (!kept.length || mark.y > kept.at(-1).y) kept.push(mark);
  return kept;
}

function labels(kept, marks, x, y) {
  const boxes = marks.map((mark) => [x(mark.x) - 6, y(mark.y) - 6, x(mark.x) + 6, y(mark.y) + 6]);
  const free = (box) =>
    box[0] >= LEFT &&
    box[2] <= plotWidth() - 2 &&
    box[1] >= 0 &&
    boxes.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
  return kept.map((mark) => {
    const text = clip(mark.row.name, 34);
    const width = text.length * 6.1;
    const [cx, cy] = [x(mark.x), y(mark.y)];
    const places = [
      [cx + 9, cy - 7, "start"],
      [cx + 9, cy + 15, "start"],
      [cx - 9, cy - 7, "end"],
      [cx - 9, cy + 15, "end"],
    ];
    for (const [at, base, anchor] of places) {
      const left = anchor === "start" ? at : at - width;
      const box = [left, base - 10, left + width, base + 3];
      if (free(box)) {
        boxes.push(box);
        return draw("text", { class: "label", x: at, y: base, "text-anchor": anchor }, text);
      }
    }
    return null;
  });
}

function scatter(id, title, what, rows, read, choice) {
  const marks = rows
    .filter((row) => row.unranked !== "bound")
    .map((row) => ({ row, x: read(row), y: figure(macroOf(row), "em"), ci: interval(macroOf(row), "em") }))
    .filter((mark) => mark.x !== null && mark.y !== null)
    .sort((a, b) => a.x - b.x || a.y - b.y);
  const head = make("figcaption", null, make("h3", null, title), choice);
  if (!marks.length)
    return make(
      "figure",
      { class: "plot", id },
      head,
      make("p", { class: "empty" }, "No row here tells its " + what + "."),
    );
  const highest = Math.min(1, Math.max(0.05, ...marks.map((mark) => (mark.ci ? mark.ci[1] : mark.y))) * 1.05);
  const scale = scaleX(marks.map((mark) => mark.x));
  const x = scale.at;
  const width = plotWidth();
  const y = (value) => TOP + (1 - value / highest) * (HEIGHT - TOP - BOTTOM);
  const kept = frontier(marks);
  const readout = make(
    "p",
    { class: "readout", "aria-hidden": "true" },
    "Dashed: the best of the ranked rows so far, from left to right.",
  );
  const say = (mark) =>
    clip(mark.row.name, 80) +
    " on " +
    clip(mark.row.eval, 40) +
    ": EM " +
    percent(mark.y) +
    " %, " +
    what +
    " " +
    short(mark.x);
  const nodes = marks.map((mark, index) =>
    draw(
      "a",
      {
        href: address({ row: mark.row.slug, question: "" }),
        class: "point " + (ENGINE_KINDS[mark.row.kind] || "mixed") + (mark.row.rank === null ? " unranked" : ""),
        tabindex: index ? "-1" : "0",
        "aria-label": say(mark),
        transform: "translate(" + x(mark.x).toFixed(1) + " " + y(mark.y).toFixed(1) + ")",
        onfocus: () => {
          readout.textContent = say(mark);
        },
        onpointerenter: () => {
          readout.textContent = say(mark);
        },
        onkeydown: (event) => {
          const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
          if (!by) return;
          event.preventDefault();
          const next = (index + by + nodes.length) % nodes.length;
          for (const node of nodes) node.setAttribute("tabindex", "-1");
          nodes[next].setAttribute("tabindex", "0");
          nodes[next].focus();
        },
      },
      mark.ci ? draw("line", { class: "whisker", y1: y(mark.ci[0]) - y(mark.y), y2: y(mark.ci[1]) - y(mark.y) }) : null,
      draw("circle", { class: "hit", r: 11 }),
      (SHAPES[mark.row.kind] || SHAPES.mixed)(),
    ),
  );
  const steps = kept
    .map(
      (mark, index) =>
        (index ? "H" + x(mark.x).toFixed(1) + "V" : "M" + x(mark.x).toFixed(1) + " ") + y(mark.y).toFixed(1),
    )
    .join("");
  return make(
    "figure",
    { class: "plot", id },
    head,
    draw(
      "svg",
      {
        viewBox: "0 0 " + width + " " + HEIGHT,
        role: "group",
        "aria-label": title + ", " + plural(marks.length, "row"),
      },
      ticks(0, highest, 5).map((at) => [
        draw("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(at), y2: y(at) }),
        draw("text", { x: LEFT - 8, y: y(at) + 4, "text-anchor": "end" }, percent(at).replace(/\.0$/, "")),
      ]),
      scale.marks.map((at) => [
        draw("line", { class: "rule tick", x1: x(at), x2: x(at), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }),
        draw("text", { x: x(at), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, short(at)),
      ]),
      draw(
        "text",
        { class: "axis", x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end" },
        what + (scale.log ? ", log scale" : "") + " →",
      ),
      draw("text", { class: "axis", x: 0, y: 10 }, "EM %"),
      draw("path", { class: "frontier", d: steps }),
      nodes,
      labels(kept, marks, x, y),
    ),
    readout,
  );
}

function renderPlots(state, group, rows) {
  const told = Object.keys(EFFORTS).filter((key) => group.rows.some((row) => EFFORTS[key].read(row) !== null));
  const effort = told.includes(state.effort) ? state.effort : told[0] || "cost";
  const choice =
    told.length > 1
      ? make(
          "label",
          { class: "choice" },
          unseen("Against "),
          make(
            "select",
            {
              onchange: (event) => {
                go({ effort: event.target.value }, { step: false });
                document.querySelector("#plot-cost select").focus();
              },
            },
            told.map((key) => make("option", { value: key, selected: key === effort }, EFFORTS[key].label)),
          ),
        )
      : null;
  const kinds = Object.keys(ENGINE_KINDS).filter((kind) => rows.some((row) => row.kind === kind));
  byId("plots").replaceChildren(
    scatter("plot-cost", "Accuracy against " + EFFORTS[effort].title, EFFORTS[effort].label, rows, EFFORTS[effort].read, choice),
    scatter(
      "plot-searches",
      "Accuracy against searches",
      "searches a question",
      rows,
      (row) => figure(macroOf(row), "searches"),
      null,
    ),
    make(
      "ul",
      { class: "legend", "aria-label": "Marks" },
      kinds.map((kind) =>
        make(
          "li",
          null,
          draw("svg", { class: "point " + kind, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, SHAPES[kind]()),
          kind,
        ),
      ),
      make("li", null, "hollow: partial; bounds are left out"),
    ),
  );
}
