// Making nodes. Nothing here, or elsewhere on the page, turns a text into markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

const make = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const draw = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
const byId = (id) => document.getElementById(id);

// Text from a record: printable, cut if long, and isolated so that its direction stays its own.
const told = (value, most = 300, attributes = null) =>
  make("bdi", attributes, clip(value === null ? "–" : value, most));
const unseen = (text) => make("span", { class: "hidden" }, text);

function announce(text) {
  byId("told").textContent = text;
}

// A table with proper headers. Cells are nodes, texts or arrays of these, and the first of a row heads it. Roles are told,
// as a phone's style takes the table's own away.
function simpleTable(caption, heads, rows, attributes = null) {
  return make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make(
      "table",
      { class: "plain", role: "table", ...attributes },
      make("caption", { class: "hidden" }, caption),
      make(
        "thead",
        { role: "rowgroup" },
        make(
          "tr",
          { role: "row" },
          heads.map((head) => make("th", { scope: "col", role: "columnheader" }, head)),
        ),
      ),
      make(
        "tbody",
        { role: "rowgroup" },
        rows.map(([first, ...cells]) =>
          make(
            "tr",
            { role: "row" },
            make("th", { scope: "row", role: "rowheader" }, first),
            cells.map((cell, place) =>
              make(
                "td",
                { role: "cell", "data-label": typeof heads[place + 1] === "string" ? heads[place + 1] : null },
                cell,
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make(
    "dl",
    { class: "facts" },
    shown.map(([name, value]) => make("div", null, make("dt", null, name), make("dd", null, value))),
  );
}
