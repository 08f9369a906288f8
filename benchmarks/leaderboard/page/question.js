// One question: what one or two rows made of it, with who wrote each part of the transcript.

const WRITERS = { prompt: "prompt", policy: "policy", environment: "environment" };
const TAG = /(<\/?(?:think|search|answer|information)>|<\|(?:begin|end)_search_(?:query|result)\|>)/;
const BROUGHT = /<information>|^\s*Doc 1:|^\s*No documents were found/i;
const MOST_CHARACTERS = 20000;

function questionView(group, opened) {
  const place = make("div");
  later(place, opened.rows, (...found) => {
    const key = opened.set + "/" + opened.index;
    const episodes = found.map((one) => one.byKey.get(key) || null);
    const episode = episodes.find(Boolean);
    if (!episode)
      return make(
        "p",
        { class: "box warn" },
        "These records hold no question " + opened.index + " of " + clip(opened.set, 60) + ".",
      );
    const hops = episode.hops ? plural(episode.hops, "hop") : null;
    return [
      make("p", { class: "asked" }, told(episode.question, 2000)),
      facts([
        [
          "Golden answers",
          make(
            "ul",
            { class: "inline" },
            episode.golden_answers.slice(0, 12).map((answer) => make("li", null, told(answer, 200))),
            episode.golden_answers.length > 12
              ? make("li", null, "and " + (episode.golden_answers.length - 12) + " more")
              : null,
          ),
        ],
        ["Set", told(episode.set, 60)],
        ["Id", told(episode.question_id, 120)],
        ["Needs", hops],
      ]),
      make(
        "p",
        { class: "legend-line" },
        "Written by ",
        Object.keys(WRITERS).map((writer) => [make("span", { class: "key-mark " + writer }, "the " + writer), " "]),
      ),
      make(
        "div",
        { class: "transcripts" + (opened.rows.length > 1 ? " two" : "") },
        opened.rows.map((row, place) => transcript(row, episodes[place])),
      ),
      neighbours(opened, found[0].list),
    ];
  });
  return [place];
}

function neighbours(opened, list) {
  const at = list.findIndex((episode) => episode.set === opened.set && episode.index === opened.index);
  const link = (episode, text, key) =>
    episode
      ? make(
          "a",
          {
            class: "button",
            "data-step": key,
            href: address({ question: questionKey(opened.rows, episode.set, episode.index) }),
          },
          text,
        )
      : null;
  return make(
    "nav",
    { class: "neighbours", "aria-label": "Questions" },
    link(list[at - 1], "← Previous question", "back"),
    link(list[at + 1], "Next question →", "on"),
  );
}

function transcript(row, episode) {
  const head = make(
    "h3",
    null,
    make("a", { href: address({ row: row.slug, question: "" }) }, told(row.name, 90)),
    make("span", { class: "about" }, engines(row)),
  );
  if (!episode)
    return make(
      "article",
      { class: "transcript" },
      head,
      make("p", { class: "box warn" }, "This record doesn't hold the question."),
    );
  return make(
    "article",
    { class: "transcript", "aria-label": clip(row.name, 90) },
    head,
    make(
      "p",
      null,
      outcomeBadge(episode),
      " ",
      make("span", { class: "answer" }, episode.answer === null ? "no answer" : told(episode.answer, 500)),
    ),
    facts([
      ["F1", percent(episode.f1) + " %"],
      ["Contains", episode.containment === 1 ? "yes" : "no"],
      ["Judged", episode.judged === null || episode.judged === undefined ? null : episode.judged ? "right" : "wrong"],
      ["Ended", told(episode.status.replaceAll("_", " "), 40)],
      ["Turns", count(episode.num_turns)],
      ["Searches", count(episode.num_searches)],
      ["Invalid", episode.num_invalid ? count(episode.num_invalid) : null],
      ["Tokens read / written", short(episode.prompt_tokens) + " / " + short(episode.completion_tokens)],
      ["Seconds", short(episode.seconds)],
    ]),
    episode.error ? make("p", { class: "box warn" }, "Failed: ", told(episode.error, 1000)) : null,
    parts(episode, row.kind === "simulated" || row.kind === "mixed"),
  );
}

// A search stands before the documents that it brought, where the transcript tells these apart; else all stand first.
function parts(episode, isDrawn) {
  const segments = joined(episode.segments);
  const brought = ([provenance, text]) => provenance === "environment" && BROUGHT.test(text);
  const isPaired = segments.filter(brought).length === episode.searches.length;
  let next = 0;
  const shown = segments.flatMap((segment) => [
    isPaired && brought(segment) ? searchCard(episode.searches[next], (next += 1), isDrawn) : null,
    segmentCard(segment[0], segment[1]),
  ]);
  const first = isPaired ? [] : episode.searches.map((search, index) => searchCard(search, index + 1, isDrawn));
  return make("div", { class: "parts" }, first, shown);
}

// A prompt is put together of pieces; whoever reads it wants the whole.
function joined(segments) {
  const whole = [];
  for (const [provenance, text] of segments) {
    const last = whole.at(-1);
    if (provenance === "prompt" && last && last[0] === "prompt") last[1] += text;
    else whole.push([provenance, text]);
  }
  return whole;
}

function segmentCard(provenance, text) {
  const writer = WRITERS[provenance] || "unknown";
  const whole = plain(text).replace(/^\n+|\n+$/g, "");
  const body = make("bdi");
  const write = (shown) =>
    body.replaceChildren(
      ...shown
        .split(TAG)
        .filter(Boolean)
        .map((piece) => (TAG.test(piece) ? make("span", { class: "tag" }, piece) : document.createTextNode(piece))),
    );
  write(whole.slice(0, MOST_CHARACTERS));
  const more =
    whole.length > MOST_CHARACTERS
      ? make(
          "button",
          {
            type: "button",
            class: "plain-button",
            onclick: (event) => {
              write(whole);
              event.target.remove();
            },
          },
          "Show the other " + count(whole.length - MOST_CHARACTERS) + " characters",
        )
      : null;
  return make(
    "div",
    { class: "segment " + writer },
    make("p", { class: "writer" }, writer),
    make("pre", null, body),
    more,
  );
}

// Useful or noisy is drawn for a simulator; a real engine and a closed book do as they do.
function searchCard(search, number, isDrawn) {
  const isNoisy = isDrawn && search.quality === "noisy";
  const known = (value, yes, no) => (value === null || value === undefined ? null : value ? yes : no);
  const notes = [
    search.contains_golden ? "showed a golden answer" : "no golden answer in it",
    known(search.supports_query, "supports the query", "doesn't support the query"),
    [plural(search.num_documents, "document") + " from ", told(search.engine, 60)],
    search.route ? told(search.route, 20) : null,
    isDrawn ? "p(noisy) " + short(search.noise_probability) : null,
    short(search.latency_s) + " s",
    search.cached ? "from a cache" : null,
    search.cut ? "cut by a budget" : null,
  ].filter(Boolean);
  return make(
    "div",
    { class: "search-card " + (isNoisy ? "noisy" : "useful") },
    make(
      "p",
      null,
      make("b", null, "Search " + number),
      " ",
      isDrawn ? make("span", { class: "draw" }, isNoisy ? "drawn: noisy" : "drawn: useful") : null,
      " ",
      search.contains_golden ? make("span", { class: "draw golden" }, "golden shown") : null,
    ),
    make("p", { class: "query" }, told(search.query, 600)),
    make(
      "p",
      { class: "note" },
      notes.map((note, index) => [index ? " · " : null, note]),
    ),
    search.error ? make("p", { class: "box warn" }, "Failed: ", told(search.error, 600)) : null,
  );
}
