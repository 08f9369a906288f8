// One record: its settings, its sets, and all of its questions.

const PER_PAGE = 100;

function recordView(group, row) {
  const record = row.record;
  const machine = record.machine || {};
  const named = (value) =>
    value === null || value === undefined ? null : told(typeof value === "object" ? JSON.stringify(value) : value, 400);
  const part = (title, object, skip = []) => {
    const pairs = Object.entries(object || {})
      .filter(([key]) => !skip.includes(key))
      .map(([key, value]) => [told(key.replaceAll("_", " "), 60), named(value)]);
    return pairs.length ? make("section", null, make("h4", null, title), facts(pairs)) : null;
  };
  const questions = make("div", { class: "questions" });
  later(questions, [row], (found) => questionBrowser(row, found));
  return [
    make("p", { class: "about big" }, told(row.agent, 60), " · ", engines(row), " ", badges(row)),
    record.why_partial ? make("p", { class: "box warn" }, "A partial record: ", told(record.why_partial, 600)) : null,
    facts([
      ["Exact match", percent(figure(macroOf(row), "em")) + " %" + intervalText(macroOf(row), "em")],
      ["Rank", row.rank === null ? "not ranked" : row.rank + (row.tie ? " (not told apart from the row above)" : "")],
      ["Questions", count(record.episodes.n)],
      ["Failed", count(record.num_failed || 0)],
      ["Searches a question", short(figure(macroOf(row), "searches"))],
      ["Date", named(record.date)],
      ["Version", named(record.version)],
    ]),
    setsTable(record),
    gapPart(group, row),
    make("h3", null, "Questions"),
    questions,
    make(
      "details",
      { class: "settings" },
      make("summary", null, "Settings, fingerprints and machine"),
      make(
        "div",
        { class: "columns" },
        part("Settings", record.settings),
        part("Engine", record.engine),
        part("Agent", record.agent),
        part("Model", record.model),
        part("Fingerprints", record.fingerprints),
        part("Machine", machine),
        part("Packages", record.packages),
        part("Git", record.git),
        part("Record", {
          slug: row.slug,
          schema: record.schema,
          seconds: record.seconds,
          episodes: record.episodes && record.episodes.sha256,
        }),
      ),
    ),
  ];
}

// Does it search, or remember? The same policy and questions on engines of other kinds.
function gapPart(group, row) {
  const gap = row.gap;
  if (!gap) return null;
  const kinds = [
    ["closed_book", "Closed-book"],
    ["simulated", "Simulated"],
    ["real", "Real"],
  ].filter(([key]) => gap[key]);
  const cells = kinds.map(([key, label]) => {
    const other = rowOf(group, gap[key].slug);
    return [
      label,
      other && other !== row
        ? make("a", { href: address({ row: other.slug, question: "" }) }, told(other.eval, 60))
        : told(other ? other.eval : "–", 60),
      percent(gap[key].value) + intervalText(gap, key),
    ];
  });
  return make(
    "section",
    null,
    make("h3", null, "Does it search, or remember?"),
    make("ul", { class: "verdicts" }, [
      gapSentence(
        gap.gain,
        "On the real engine it is right more often than closed-book: it searches.",
        "On the real engine it is right less often than closed-book: searching does it harm.",
        "These questions don't tell its real engine from closed-book: nothing shows that searching helps it.",
      ),
      gapSentence(
        gap.gap,
        "On the real engine it is right more often than on the simulated one.",
        "On the real engine it is right less often than on the simulated one: the simulation flatters it.",
        "These questions don't tell the real engine from the simulated one.",
      ),
    ]),
    simpleTable("The same policy by kind of engine", ["Kind", "Engine", "EM % (95 %)"], cells, {
      class: "plain numbers",
    }),
  );
}

function gapSentence(test, more, less, neither) {
  if (!test) return null;
  const text = !isTold(test) ? neither : test.value > 0 ? more : less;
  return make(
    "li",
    null,
    text,
    make("small", null, " " + points(test.value) + " points (" + range(test.ci, points) + "), " + saysChance(test.p)),
  );
}

const intervalText = (metrics, key) =>
  interval(metrics, key) ? " (" + range(interval(metrics, key), percent) + ")" : "";

function setsTable(record) {
  const cells = ({ name, n, metrics, fingerprint }) => [
    told(name, 60),
    count(n),
    percent(figure(metrics, "em")) + intervalText(metrics, "em"),
    percent(figure(metrics, "f1")),
    percent(figure(metrics, "containment")),
    percent(figure(metrics, "judged")),
    short(figure(metrics, "searches")),
    make(
      "code",
      { title: clip(fingerprint || "", 80) },
      clip((fingerprint || "–").replace(/^sha256:/, "").slice(0, 8), 8),
    ),
  ];
  return simpleTable(
    "Figures by set",
    ["Set", "Questions", "EM % (95 %)", "F1 %", "Contains %", "Judged %", "Searches", "Fingerprint"],
    record.sets.map(cells),
    { class: "plain numbers" },
  );
}

const ASKED_FOR = new Map(); // slug -> the filter of its questions, which a look at one of them leaves as it is

function questionBrowser(row, { list, isChecked }) {
  const place = make("div");
  const tally = make("p", { class: "note", role: "status" });
  const choice = (name, label, pairs) =>
    make(
      "label",
      null,
      make("span", null, label),
      make(
        "select",
        { name, onchange: () => show() },
        pairs.map(([value, text]) => make("option", { value }, text)),
      ),
    );
  const sets = [...new Set(list.map((episode) => episode.set))];
  const form = make(
    "form",
    { class: "filters small", "aria-label": "Filter the questions", onsubmit: (event) => event.preventDefault() },
    make(
      "label",
      { class: "find" },
      make("span", null, "Find"),
      make("input", { type: "search", name: "find", autocomplete: "off", oninput: () => show() }),
    ),
    choice("outcome", "Outcome", [["", "all"], ...Object.entries(OUTCOMES)]),
    sets.length > 1 ? choice("set", "Set", [["", "all"], ...sets.map((name) => [name, clip(name, 40)])]) : null,
  );
  for (const [name, value] of Object.entries(ASKED_FOR.get(row.slug) || {})) form.elements[name].value = value;
  const show = () => {
    const value = (name) => (form.elements[name] ? form.elements[name].value : "");
    ASKED_FOR.set(row.slug, Object.fromEntries([...form.elements].map((one) => [one.name, one.value])));
    const words = value("find").toLowerCase();
    const found = list.filter(
      (episode) =>
        (!value("outcome") || outcomeOf(episode) === value("outcome")) &&
        (!value("set") || episode.set === value("set")) &&
        (!words ||
          [episode.question, episode.answer || "", ...episode.golden_answers].join(" ").toLowerCase().includes(words)),
    );
    tally.textContent =
      found.length === list.length
        ? plural(list.length, "question")
        : found.length + " of " + plural(list.length, "question");
    place.replaceChildren(
      questionTable(
        "Questions of this record",
        found.map((episode) => ({ rows: [row], episodes: [episode] })),
      ),
    );
  };
  show();
  return [
    form,
    tally,
    place,
    make(
      "p",
      { class: "note" },
      isChecked
        ? "✓ The episodes are those that the record was made with (SHA-256)."
        : "The episodes were not checked against the record: this browser can't here.",
    ),
  ];
}

// A long table is made whole only when that is asked for.
function questionTable(caption, entries, most = PER_PAGE) {
  const place = make("div");
  place.append(tableOf(caption, entries.slice(0, most)));
  if (entries.length > most)
    place.append(
      make(
        "button",
        {
          type: "button",
          class: "button",
          onclick: () => place.replaceWith(questionTable(caption, entries, Infinity)),
        },
        "Show all " + count(entries.length),
      ),
    );
  return place;
}

function tableOf(caption, entries) {
  const rows = entries.map(({ rows: of, episodes }) => {
    const [first] = episodes;
    return [
      make("a", { href: address({ question: questionKey(of, first.set, first.index) }) }, told(first.question, 200)),
      told(first.golden_answers[0], 80),
      ...episodes.map((episode) => [
        outcomeBadge(episode),
        " ",
        episode.answer === null ? null : told(episode.answer, 80),
      ]),
      episodes.map((episode) => String(episode.num_searches)).join(" / "),
      told(first.set, 40),
    ];
  });
  const answers = entries.length && entries[0].rows.length > 1 ? ["Answer of A", "Answer of B"] : ["Answer"];
  return simpleTable(caption, ["Question", "Golden", ...answers, "Searches", "Set"], rows, { class: "plain list" });
}
