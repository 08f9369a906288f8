// The board's columns: what each says, how it is read from a row, and which of the views shows it.

const ENGINE_KINDS = { "closed-book": "closed-book", simulated: "simulated", real: "real", mixed: "mixed" };
const macroOf = (row) => row.record.macro || {};

// `better`: which end is the good one, so that a first click on the header sorts the best to the top.
function share(key, label, title, views, better = "high") {
  return {
    key,
    label,
    title,
    views,
    better,
    unit: "%",
    value: (row) => figure(macroOf(row), key),
    ci: (row) => interval(macroOf(row), key),
    show: percent,
  };
}

function amount(key, label, title, views, better = "low") {
  return { key, label, title, views, better, value: (row) => figure(macroOf(row), key), ci: () => null, show: short };
}

function gapColumn(key, label, title, views, show) {
  return {
    key,
    label,
    title,
    views,
    better: "high",
    unit: show === points ? "points" : "%",
    show,
    value: (row) => figure(row.gap, key),
    ci: (row) => interval(row.gap, key),
  };
}

function setting(key, label, title) {
  return {
    key,
    label,
    title,
    views: ["settings"],
    better: "low",
    show: (value) => (value === null ? "–" : clip(value, 40)),
    value: (row) => {
      const value = row.record.settings ? row.record.settings[key] : null;
      return value === undefined ? null : typeof value === "object" && value !== null ? JSON.stringify(value) : value;
    },
    ci: () => null,
  };
}

function columnsOf(group) {
  const several = group.sets.length > 1 ? group.sets : []; // of a single set, the mean says all
  const sets = several.map((set) => ({
    key: "em:" + set.name,
    label: clip(set.name, 24),
    title: "Exact match on " + clip(set.name, 80),
    views: ["accuracy"],
    better: "high",
    unit: "%",
    show: percent,
    value: (row) => figure(row.sets[set.name], "em"),
    ci: (row) => interval(row.sets[set.name], "em"),
  }));
  return [
    {
      ...share("em", "EM", "Exact match, the mean of the sets, with its 95 % interval. Rows are ranked by it.", []),
      bar: true,
    },
    ...sets,
    share("f1", "F1", "Overlap of the answer's words with a golden answer's, mean of the sets", ["accuracy"]),
    share(
      "containment",
      "Contains",
      "A golden answer stands in the answer, mean of the sets; yes/no questions left out",
      ["accuracy"],
    ),
    share("judged", "Judged", "Right in the eyes of a language model, where one was asked", ["accuracy"]),
    gapColumn(
      "gap",
      "Gap",
      "Exact match on the real engine less that on the simulated one",
      ["accuracy", "gap"],
      points,
    ),
    gapColumn("closed_book", "Closed-book", "The same policy and questions without any search", ["gap"], percent),
    gapColumn("simulated", "Simulated", "The same policy and questions on a simulated engine", ["gap"], percent),
    gapColumn("real", "Real", "The same policy and questions on a real engine", ["gap"], percent),
    gapColumn(
      "gain",
      "Search adds",
      "Exact match on the real engine less closed-book: what searching is worth to this policy",
      ["gap"],
      points,
    ),
    share("golden_shown", "Golden shown", "Share of searches that showed a golden answer", ["gap"]),
    share("noisy_share", "Noisy", "Share of searches that were answered with noise on purpose", ["gap"], "low"),
    share("unanswered", "Unanswered", "Share of questions without an answer", ["behaviour"], "low"),
    share("invalid", "Invalid", "Share of actions that were none", ["behaviour"], "low"),
    amount("searches", "Searches", "Searches a question", ["behaviour"]),
    amount("prompt_tokens", "Tokens read", "Prompt tokens a question, each call's whole prompt counted", ["behaviour"]),
    amount("completion_tokens", "Tokens written", "Completion tokens a question", ["behaviour"]),
    amount("seconds", "Seconds", "Seconds a question, from its first call to its end", ["behaviour"]),
    amount("search_seconds", "In search", "Of these, seconds in searches", ["behaviour"]),
    amount("cost", "Cost", "Cost a question, by the record's prices", ["behaviour"]),
    setting("seed", "Seed", "The seed of all draws"),
    setting("noise_probability", "Noise", "The chance that a search is answered with noise on purpose"),
    setting("topk", "Top k", "Documents a search"),
    setting("max_turns", "Turns", "The most actions a question"),
    setting("max_new_tokens", "New tokens", "The most tokens an action"),
    setting("temperature", "Temperature", "Of sampling; – is greedy"),
    {
      key: "date",
      label: "Date",
      title: "The day of the run (UTC)",
      views: ["settings"],
      better: "high",
      ci: () => null,
      value: (row) => row.record.date || null,
      show: (value) => clip(value || "–", 20),
    },
    {
      key: "commit",
      label: "Commit",
      title: "The code that it ran with",
      views: ["settings"],
      better: "low",
      ci: () => null,
      value: (row) => (row.record.git ? row.record.git.commit : null),
      show: (value) => (value ? clip(String(value).slice(0, 8), 8) : "–"),
    },
  ];
}

const VIEWS = {
  accuracy: "Accuracy",
  behaviour: "Behaviour and cost",
  gap: "Simulated to real",
  settings: "Settings",
  all: "Everything",
};

// A column that no row has anything for would only take room; the key of the board always stays.
function shownColumns(group, view) {
  return columnsOf(group).filter(
    (column) =>
      column.key === "em" ||
      ((view === "all" || column.views.includes(view)) && group.rows.some((row) => column.value(row) !== null)),
  );
}

function sortedRows(group, rows, sort) {
  const key = sort.replace(/^-/, "");
  const down = sort.startsWith("-");
  if (key === "policy") {
    const ordered = [...rows].sort((a, b) => a.name.localeCompare(b.name, "en"));
    return down ? ordered.reverse() : ordered;
  }
  const column = columnsOf(group).find((one) => one.key === key) || columnsOf(group)[0];
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
  return rows
    .map((row, place) => ({ row, place, value: column.value(row) }))
    .sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.place - b.place;
      return (down ? -1 : 1) * compare(a.value, b.value) || a.place - b.place;
    })
    .map((one) => one.row);
}

function matchingRows(group, state) {
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  return group.rows.filter((row) => {
    const text = [row.name, row.agent, row.train, row.eval, row.kind, row.record.row.model || "", row.slug]
      .join(" ")
      .toLowerCase();
    return (
      words.every((word) => text.includes(word)) &&
      (!state.agent || row.agent === state.agent) &&
      (!state.engine || row.kind === state.engine)
    );
  });
}
