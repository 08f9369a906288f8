// Two rows side by side: what the paired tests say, what else differs, and the questions where one was right alone.

function pairOf(group, first, second) {
  const turned = { ...group.pairs[second.slug + " " + first.slug] };
  const found = group.pairs[first.slug + " " + second.slug];
  if (found || !turned.macro) return found || null;
  const turn = (test) =>
    test && {
      ...test,
      difference: test.difference === null ? null : -test.difference,
      ci: test.ci && [-test.ci[1], -test.ci[0]],
      only_first: test.only_second,
      only_second: test.only_first,
    };
  return {
    macro: turn(turned.macro),
    sets: Object.fromEntries(Object.entries(turned.sets).map(([name, test]) => [name, turn(test)])),
    notes: turned.notes,
  };
}

function forest(test, widest) {
  const at = (value) => 50 + (46 * value) / widest;
  if (!test || !test.ci) return null;
  return draw(
    "svg",
    {
      class: "forest" + (isTold(test) ? " told" : ""),
      viewBox: "0 0 100 14",
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    },
    draw("line", { class: "zero", x1: 50, x2: 50, y1: 0, y2: 14 }),
    draw("rect", {
      class: "band",
      x: at(test.ci[0]),
      width: Math.max(0.6, at(test.ci[1]) - at(test.ci[0])),
      y: 5,
      height: 4,
    }),
    draw("rect", { class: "mark", x: at(test.difference) - 0.7, width: 1.4, y: 2, height: 10 }),
  );
}

function verdict(test, first, second) {
  if (!test || typeof test.difference !== "number")
    return "No paired test: the rows share no question that both finished.";
  const tested = " (95 % interval of A − B: " + range(test.ci, points) + "; " + saysChance(test.p) + ").";
  if (!isTold(test))
    return "These questions do not tell the two apart: A − B is " + points(test.difference) + " points" + tested;
  const [letter, better] = test.difference > 0 ? ["A", first] : ["B", second];
  return [
    letter + ", ",
    told(better.name, 90),
    " on ",
    told(better.eval, 40),
    ", is right more often, by " + points(Math.abs(test.difference)).replace("+", "") + " points" + tested,
  ];
}

function compareView(group, first, second) {
  const pair = pairOf(group, first, second);
  const [a, b] = ["A", "B"].map((letter) => make("span", { class: "letter" }, letter));
  const who = make(
    "ul",
    { class: "pair" },
    [
      [a, first],
      [b, second],
    ].map(([letter, row]) =>
      make(
        "li",
        null,
        letter,
        make("a", { href: address({ row: row.slug, question: "" }) }, told(row.name, 90)),
        make("span", { class: "about" }, engines(row), " ", badges(row)),
      ),
    ),
  );
  if (!pair) return [who, make("p", { class: "box warn" }, "These two rows can't be compared.")];
  const tests = [
    ["Mean of the sets", pair.macro, first.record.macro, second.record.macro],
    ...group.sets.map((set) => [told(set.name, 60), pair.sets[set.name], first.sets[set.name], second.sets[set.name]]),
  ];
  const shown = group.sets.length > 1 ? tests : tests.slice(1);
  const widest = Math.max(0.02, ...shown.flatMap(([, test]) => (test && test.ci ? test.ci.map(Math.abs) : [])));
  const rows = shown.map(([name, test, one, other]) => [
    name,
    percent(figure(one, "em")),
    percent(figure(other, "em")),
    test
      ? [make("b", null, points(test.difference)), test.ci ? make("small", null, range(test.ci, points)) : null]
      : "–",
    forest(test, widest) || "–",
    chance(test && test.p),
    test && typeof test.only_first === "number" ? test.only_first + " / " + test.only_second : "–",
  ]);
  const differing = make("div", { class: "questions" });
  later(differing, [first, second], (one, other) => differingQuestions(first, second, one, other));
  const notes = pair.notes || [];
  return [
    who,
    make("p", { class: "verdict" }, verdict(pair.macro || pair.sets[group.sets[0].name], first, second)),
    notes.length
      ? make(
          "div",
          { class: "box" },
          make("h4", null, "Also different between them"),
          make(
            "ul",
            null,
            notes.map((note) => make("li", null, told(note, 300))),
          ),
        )
      : null,
    simpleTable(
      "Exact match, paired by question",
      [
        "Exact match",
        "A %",
        "B %",
        "A − B, points (95 %)",
        make("span", null, "B better ← 0 → A better"),
        "p",
        "Only A / only B right",
      ],
      rows,
      { class: "plain numbers" },
    ),
    make(
      "p",
      { class: "note" },
      "Paired by question: both rows answered the same ones. Of a set, p is exact McNemar's; of their mean, that of " +
        "turning signs at random. Below 0.05 we call two rows told apart; a p of one pair among many is no proof.",
    ),
    otherMeasures(group, first, second),
    make("h3", null, "Where they differ"),
    differing,
  ];
}

function otherMeasures(group, first, second) {
  const columns = columnsOf(group).filter((column) =>
    [
      "f1",
      "containment",
      "judged",
      "unanswered",
      "invalid",
      "searches",
      "prompt_tokens",
      "completion_tokens",
      "seconds",
      "cost",
      "golden_shown",
      "noisy_share",
    ].includes(column.key),
  );
  const rows = columns
    .filter((column) => [first, second].some((row) => column.value(row) !== null))
    .map((column) => {
      const [one, other] = [first, second].map(column.value);
      return [
        make("span", { title: column.title }, column.label + (column.unit ? " " + column.unit : "")),
        column.show(one),
        column.show(other),
        one === null || other === null ? "–" : column.unit ? points(one - other) : short(one - other),
      ];
    });
  return make(
    "details",
    { class: "settings" },
    make("summary", null, "Other measures, without a test"),
    simpleTable("Other measures", ["Mean of the sets", "A", "B", "A − B"], rows, { class: "plain numbers" }),
  );
}

function differingQuestions(first, second, one, other) {
  const groups = [
    ["Only A is right", []],
    ["Only B is right", []],
  ];
  let both = 0,
    neither = 0,
    left = 0;
  for (const episode of one.list) {
    const match = other.byKey.get(episode.set + "/" + episode.index);
    if (!match || hasFailed(episode) || hasFailed(match)) {
      left += 1;
      continue;
    }
    const [isFirst, isSecond] = [episode.exact_match === 1, match.exact_match === 1];
    if (isFirst === isSecond) isFirst ? (both += 1) : (neither += 1);
    else groups[isFirst ? 0 : 1][1].push({ rows: [first, second], episodes: [episode, match] });
  }
  return [
    make(
      "p",
      { class: "note" },
      "Both right: " +
        both +
        ". Neither: " +
        neither +
        "." +
        (left ? " Left out, as a failure ended one of the two: " + left + "." : ""),
    ),
    ...groups
      .map(([title, entries]) => [
        make("h4", null, title + " (" + entries.length + ")"),
        entries.length ? questionTable(title, entries) : make("p", { class: "note" }, "None."),
      ])
      .flat(),
  ];
}
