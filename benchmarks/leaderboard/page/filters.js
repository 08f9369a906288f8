// Which suite, which rows and which columns.

function renderSuites(state) {
  byId("suites").replaceChildren(
    make(
      "ul",
      { class: "tabs" },
      BOARD.groups.map((group) =>
        make(
          "li",
          null,
          make(
            "a",
            {
              href: address({ suite: group.id, compare: "", row: "", question: "", sort: "-em" }),
              "aria-current": group.id === state.suite ? "page" : null,
            },
            told(group.title, 60),
            make("span", { class: "tally" }, String(group.rows.length)),
          ),
        ),
      ),
    ),
  );
}

function aboutGroup(group) {
  const sizes = [...new Set(group.sets.map((set) => set.n))];
  const names = group.sets
    .map((set) => clip(set.name, 30) + (sizes.length > 1 ? " (" + count(set.n) + ")" : ""))
    .join(", ");
  const each =
    sizes.length === 1
      ? plural(sizes[0], "question") + (group.sets.length > 1 ? " of each" : "")
      : "questions in brackets";
  return names + " · " + each + " · the same questions for every row · accuracy in per cent";
}

// The form is made once, so that typing keeps its place; what it shows follows the address.
function renderFilters(state, group) {
  const form = byId("filters");
  if (!form.childElementCount) {
    form.addEventListener("submit", (event) => event.preventDefault());
    const select = (name, label, only) =>
      make(
        "label",
        { class: only },
        make("span", null, label),
        make("select", { name, onchange: (event) => go({ [name]: event.target.value }, { step: false }) }),
      );
    form.append(
      make(
        "label",
        { class: "find" },
        make("span", null, "Find"),
        make("input", {
          type: "search",
          name: "find",
          placeholder: "policy, agent, engine",
          autocomplete: "off",
          spellcheck: "false",
          oninput: (event) => go({ find: event.target.value }, { step: false }),
        }),
      ),
      select("agent", "Agent"),
      select("engine", "Engine"),
      select("sort", "Sort by", "phone"),
      make(
        "div",
        { class: "views", role: "group", "aria-label": "Columns" },
        Object.entries(VIEWS).map(([view, label]) =>
          make("button", { type: "button", "data-view": view, onclick: () => go({ view }, { step: false }) }, label),
        ),
      ),
    );
  }
  const options = (name, pairs) => {
    form.elements[name].replaceChildren(...pairs.map(([value, label]) => make("option", { value }, label)));
    form.elements[name].value = state[name];
  };
  const distinct = (read) => [...new Set(group.rows.map(read))].sort();
  options("agent", [["", "all"], ...distinct((row) => row.agent).map((name) => [name, clip(name, 40)])]);
  options("engine", [
    ["", "all"],
    ...distinct((row) => row.kind).map((name) => [name, ENGINE_KINDS[name] || clip(name, 40)]),
  ]);
  const columns = shownColumns(group, state.view);
  const sorts = columns.map((column) => [(column.better === "high" ? "-" : "") + column.key, column.label]);
  const standing = sorts.some(([value]) => value === state.sort)
    ? []
    : [[state.sort, state.sort.replace(/^-/, "") + ", turned round"]];
  options("sort", [...sorts, ...standing]);
  if (form.elements.find.value !== state.find) form.elements.find.value = state.find;
  for (const button of form.querySelectorAll("[data-view]"))
    button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
}
