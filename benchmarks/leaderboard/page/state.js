// What is shown is in the address alone: a link, a reload and the back button all give the same view.

const BOARD = JSON.parse(byId("data").textContent);
for (const group of BOARD.groups)
  for (const row of group.rows) {
    const { policy, agent, train_engine: train, eval_engine: engine } = row.record.row;
    const sets = Object.fromEntries(row.record.sets.map((set) => [set.name, set.metrics]));
    Object.assign(row, { name: policy, agent, train, eval: engine, kind: row.record.engine.kind, sets });
  }

const DEFAULTS = {
  suite: BOARD.groups.length ? BOARD.groups[0].id : "",
  view: "accuracy",
  sort: "-em",
  find: "",
  agent: "",
  engine: "",
  effort: "",
  compare: "",
  row: "",
  question: "",
};

function readState() {
  const told = new URLSearchParams(location.hash.slice(1));
  const state = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS)) if (told.has(key)) state[key] = told.get(key);
  if (!BOARD.groups.some((group) => group.id === state.suite)) state.suite = DEFAULTS.suite;
  return state;
}

function address(changes) {
  const state = { ...readState(), ...changes };
  const told = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) if (value !== DEFAULTS[key]) told.set(key, value);
  return "#" + told.toString();
}

// Opening something is a step that the back button undoes; a letter typed into the filter is none.
function go(changes, { step = true } = {}) {
  const target = address(changes);
  if (target === (location.hash || "#")) return;
  if (step) location.hash = target;
  else {
    history.replaceState(null, "", target);
    render();
  }
}

const chosenGroup = (state) => BOARD.groups.find((group) => group.id === state.suite) || null;
const rowOf = (group, slug) => (group ? group.rows.find((row) => row.slug === slug) || null : null);
const comparedSlugs = (state, group) => state.compare.split(",").filter((slug) => rowOf(group, slug));

// A question is opened as `slug[,slug]/set/index`; a set's name may hold a slash itself.
function openedQuestion(state, group) {
  const parts = state.question.split("/");
  if (parts.length < 3) return null;
  const rows = parts[0]
    .split(",")
    .map((slug) => rowOf(group, slug))
    .filter(Boolean)
    .slice(0, 2);
  const index = Number(parts.at(-1));
  return rows.length && Number.isInteger(index) ? { rows, set: parts.slice(1, -1).join("/"), index } : null;
}
const questionKey = (rows, set, index) => rows.map((row) => row.slug).join(",") + "/" + set + "/" + index;
