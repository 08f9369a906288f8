// What stands beside the board: rows that others published, and how to read all this.

function renderPublished() {
  const place = byId("published");
  const rows = BOARD.published;
  place.hidden = rows.length === 0;
  if (!rows.length) return;
  const value = (row, share) =>
    typeof share === "number" ? (100 * share).toFixed(Math.max(0, row.decimals - 2)) : "–";
  const source = (row) =>
    /^https:\/\//.test(row.url)
      ? make("a", { href: row.url, rel: "noreferrer noopener" }, told(row.source, 200))
      : told(row.source, 200);
  const tables = [...new Set(rows.map((row) => row.table))];
  place.replaceChildren(
    make("h2", { id: "published-title" }, "Published by others"),
    make(
      "p",
      { class: "note" },
      "Figures as their authors print them: of other models, prompts and servers, and of other draws of questions. " +
        "They were not measured here, no record stands behind them, and they are ranked with nothing.",
    ),
    ...tables.map((table) =>
      publishedTable(
        table,
        rows.filter((row) => row.table === table),
        value,
        source,
      ),
    ),
  );
}

function publishedTable(table, rows, value, source) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.sets)))];
  const notes = rows.filter((row) => row.note).map((row) => [row.method, row.model, row.note]);
  const cells = (row) => [
    told(row.method, 60),
    told(row.model, 60),
    told(row.train_engine || "–", 60),
    told(row.engine, 60),
    ...names.map((name) => value(row, row.sets[name])),
    make("b", null, value(row, row.average)),
  ];
  return make(
    "details",
    { class: "published" },
    make(
      "summary",
      null,
      make("b", null, told(table, 120)),
      " ",
      make("span", { class: "note" }, plural(rows.length, "row") + " · ", told(rows[0].metric, 120), ", in per cent"),
    ),
    make("p", { class: "note" }, "Source: ", source(rows[0])),
    make("p", { class: "note" }, told(rows[0].about, 1500)),
    simpleTable(
      "Published rows: " + clip(table, 100),
      ["Method", "Model", "Trained on", "Engine", ...names.map((name) => clip(name, 30)), "Average"],
      rows.map(cells),
      { class: "plain numbers" },
    ),
    notes.map(([method, model, note]) =>
      make("p", { class: "note" }, told(method, 60), ", ", told(model, 60), ": ", told(note, 600)),
    ),
  );
}

function renderReading() {
  const say = (term, ...text) => make("div", null, make("dt", null, term), make("dd", null, text));
  byId("reading").replaceChildren(
    make("h2", { id: "reading-title" }, "How to read it"),
    make(
      "dl",
      { class: "reading" },
      say(
        "Row",
        "One policy, with what it was trained on, on one search engine. Only rows that answered the very same " +
          "questions stand in one table, and only these may be compared.",
      ),
      say(
        "Rank",
        "By exact match, the mean of the sets. Bounds and partial records have none. ",
        make("b", null, "≈"),
        " says that a paired test can't tell the row from the one above (p of 0.05 or more): take the two for equal. " +
          "Ranks run across engines: a better place may be a better policy or an easier engine.",
      ),
      say(
        "Scores",
        make("b", null, "EM"),
        ", exact match: the answer equals a golden one but for case, articles and punctuation. ",
        make("b", null, "F1"),
        ": how many words the two share. ",
        make("b", null, "Contains"),
        ": a golden answer stands in the answer. ",
        make("b", null, "Judged"),
        ": a language model found it right. No answer is wrong in each. Only EM ranks.",
      ),
      say(
        "Engines",
        make("b", null, "Closed-book"),
        " finds nothing, whatever is searched for. On a ",
        make("b", null, "simulated"),
        " one, a model or a template writes the documents, noisy ones too if noise was asked for. A ",
        make("b", null, "real"),
        " one looks them up in an index or on the web; ",
        make("b", null, "mixed"),
        " is some of both.",
      ),
      say(
        "Intervals",
        "95 %, by drawing questions anew, each set on its own. They say what other questions of the same kind might " +
          "give, not what other seeds might.",
      ),
      say(
        "Oracle and random",
        "Bounds: an agent that is told the answer, and one that answers with another question's. No policy.",
      ),
      say(
        "Gap",
        "The same policy and questions without search, on a simulated engine and on a real one. A policy that is as " +
          "good closed-book remembers; one that gains on the real engine searches.",
      ),
      say(
        "Cost and seconds",
        "Cost by the prices in the record, in their currency; nothing where no prices were given. Seconds compare " +
          "rows of one machine and one concurrency.",
      ),
      say("Failures", "Questions that an engine or a server failed count in no figure, and a record says how many."),
    ),
  );
}
