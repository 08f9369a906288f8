// The board itself: a table that becomes a list of cards on a phone.

function headCell(column, state) {
  const down = state.sort === "-" + column.key;
  const up = state.sort === column.key;
  const first = (column.better === "high" ? "-" : "") + column.key;
  const next = down ? column.key : up ? "-" + column.key : first;
  return make(
    "th",
    {
      scope: "col",
      role: "columnheader",
      class: column.key === "policy" ? "name" : "value",
      "aria-sort": down ? "descending" : up ? "ascending" : "none",
    },
    make(
      "button",
      {
        type: "button",
        title: column.title,
        onclick: () => {
          go({ sort: next }, { step: false });
          refocus(column.key);
        },
        "data-sort": column.key,
      },
      column.label,
      make("span", { class: "arrow", "aria-hidden": "true" }, down ? "▼" : up ? "▲" : ""),
    ),
  );
}

function refocus(key) {
  const button = [...document.querySelectorAll("[data-sort]")].find((one) => one.dataset.sort === key);
  if (button) button.focus();
}

// Bounds may lie beyond the end, which is set by the rows that are ranked.
function bar(value, ci, top) {
  const x = (share) => Math.min(100, (100 * share) / top);
  return draw(
    "svg",
    { class: "bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "track", x: 0, y: 3, width: 100, height: 2 }),
    ci
      ? draw("rect", { class: "band", x: x(ci[0]), y: 1.5, width: Math.max(0.5, x(ci[1]) - x(ci[0])), height: 5 })
      : null,
    draw("rect", { class: "mark", x: Math.min(98.4, Math.max(0, x(value) - 0.8)), y: 0, width: 1.6, height: 8 }),
  );
}

function valueCell(column, row, top, isSorted) {
  const value = column.value(row);
  const ci = column.ci(row);
  const attributes = {
    role: "cell",
    "data-label": column.label,
    class: [
      column.bar ? "key" : "",
      isSorted ? "sorted" : "",
      value === null ? "nothing" : "",
      column.show === points && ci && !isTold(row.gap[column.key]) ? "untold" : "",
    ]
      .join(" ")
      .trim(),
    title: ci ? column.show(value) + ", 95 % interval " + range(ci, column.show) : null,
  };
  if (!column.bar || value === null) return make("td", attributes, column.show(value));
  return make(
    "td",
    attributes,
    make("b", null, column.show(value)),
    ci ? make("small", null, range(ci, column.show).replace(" to ", "–")) : null,
    bar(value, ci, top),
  );
}

function rankCell(row) {
  const reasons = { bound: "a bound, not ranked", partial: "partial, not ranked", nothing: "no figure, not ranked" };
  const parts =
    row.rank === null
      ? [make("span", { "aria-hidden": "true" }, "–"), unseen(reasons[row.unranked] || "not ranked")]
      : [String(row.rank)];
  if (row.tie) {
    const say =
      "not told apart from the row above" + (typeof row.tie.p === "number" ? " (" + saysChance(row.tie.p) + ")" : "");
    parts.push(make("span", { class: "tie", title: say, "aria-hidden": "true" }, "≈"), unseen(" " + say));
  }
  return make("td", { role: "cell", class: "rank", "data-label": "Rank" }, parts);
}

function badges(row) {
  return [
    row.unranked === "bound" ? make("span", { class: "badge quiet" }, "bound") : null,
    row.record.state !== "complete"
      ? make("span", { class: "badge warn", title: clip(row.record.why_partial || "", 300) }, "partial")
      : null,
    row.record.num_failed
      ? make(
          "span",
          { class: "badge warn", title: "Questions that the engine or the server failed; they count in no figure" },
          plural(row.record.num_failed, "failure"),
        )
      : null,
  ];
}

function engines(row) {
  return [
    make("span", { class: "kind " + (ENGINE_KINDS[row.kind] || "mixed") }),
    told(row.eval, 40),
    row.train && row.train !== "none" ? [" · trained on ", told(row.train, 40)] : null,
    Object.entries(row.apart).map(
      ([name, value]) => " · " + name.replaceAll("_", " ") + " " + clip(value === null ? "–" : value, 20),
    ),
  ];
}

function bodyRow(row, columns, state, compared, top) {
  const isChosen = compared.includes(row.slug);
  const sorted = state.sort.replace(/^-/, "");
  return make(
    "tr",
    {
      role: "row",
      class: [isChosen ? "chosen-row" : "", row.rank === null ? "unranked" : ""].join(" ").trim() || null,
      "data-slug": row.slug,
    },
    make(
      "td",
      { role: "cell", class: "pick" },
      make("input", {
        type: "checkbox",
        checked: isChosen,
        "aria-label": "Compare " + clip(row.name, 100) + " on " + clip(row.eval, 40),
        onchange: () => choose(row.slug),
        onkeydown: compareByKey,
      }),
    ),
    rankCell(row),
    make(
      "th",
      { scope: "row", role: "rowheader", class: "name" },
      make("a", { href: address({ row: row.slug, question: "" }) }, told(row.name, 90)),
      " ",
      badges(row),
      make(
        "span",
        { class: "about" },
        row.name.endsWith(row.agent) ? null : [told(row.agent, 40), " · "],
        engines(row),
      ),
    ),
    columns.map((column) => valueCell(column, row, top, column.key === sorted)),
  );
}

function renderTable(state, group, rows) {
  const columns = shownColumns(group, state.view);
  const compared = comparedSlugs(state, group);
  const ends = group.rows.filter((row) => row.rank !== null).map((row) => (interval(macroOf(row), "em") || [0, 0])[1]);
  const top = Math.min(1, Math.ceil(Math.max(0.1, ...ends) * 10) / 10);
  const heads = [
    make("th", { scope: "col", role: "columnheader", class: "pick" }, unseen("Compare")),
    make(
      "th",
      { scope: "col", role: "columnheader", class: "rank" },
      make("abbr", { title: "Rank by exact match" }, "#"),
    ),
    headCell({ key: "policy", label: "Policy", title: "What answered, and on which engine", better: "low" }, state),
    columns.map((column) => headCell(column, state)),
  ];
  byId("table").replaceChildren(
    make(
      "table",
      { role: "table", class: "board", "aria-labelledby": "board-title" },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, heads)),
      make(
        "tbody",
        { role: "rowgroup" },
        sortedRows(group, rows, state.sort).map((row) => bodyRow(row, columns, state, compared, top)),
      ),
    ),
  );
  fitTable();
  byId("board-count").textContent =
    rows.length === group.rows.length
      ? plural(rows.length, "row")
      : rows.length
        ? rows.length + " of " + plural(group.rows.length, "row")
        : "No row is like that; " + plural(group.rows.length, "row") + " in all.";
}

// A table that fits keeps its head in sight as the page scrolls; one that is too wide scrolls by itself instead.
function fitTable() {
  const place = byId("table");
  place.classList.remove("scroll");
  const isWide = place.firstElementChild && place.firstElementChild.scrollWidth > place.clientWidth;
  place.classList.toggle("scroll", Boolean(isWide));
  if (isWide) place.setAttribute("tabindex", "0");
  else place.removeAttribute("tabindex");
}
