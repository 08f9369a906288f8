// From the address to the page.

let boardShown = null;

function render() {
  const state = readState();
  const group = chosenGroup(state);
  renderSuites(state);
  if (!group) {
    byId("filters").hidden = true;
    byId("charts").hidden = true;
    byId("table").replaceChildren(
      make(
        "p",
        { class: "empty" },
        "There is no record yet. ",
        make("code", null, "python -m benchmarks leaderboard run"),
        " makes one, and ",
        make("code", null, "submit"),
        " brings it here.",
      ),
    );
    return;
  }
  // What lies under an opened sheet stays as it is, and with it the place that the focus goes back to.
  const { row, question, ...board } = state;
  const key = JSON.stringify([board, NARROW.matches]);
  if (key !== boardShown) renderBoard(state, group);
  boardShown = key;
  renderNotes(state, group);
  renderSheet(state, group);
}

// What has to be known before two rows of the table are held against each other, and a link that leads nowhere.
function renderNotes(state, group) {
  const searched = new Set(group.rows.filter((row) => row.rank !== null).map((row) => row.eval));
  const asked = [...state.compare.split(","), state.row, ...state.question.split("/", 1)[0].split(",")];
  const missing = [...new Set(asked)].filter((slug) => slug && slug !== "compare" && !rowOf(group, slug));
  byId("board-notes").replaceChildren(
    ...[
      missing.length
        ? make(
            "p",
            { class: "box warn", role: "alert" },
            "The address names what isn't among these rows, so it isn't shown: ",
            told(missing.join(", "), 300),
            ". Only rows of one table can be compared.",
          )
        : null,
      searched.size > 1
        ? make(
            "p",
            { class: "note" },
            "Ranks run across engines, so a row's place is its policy's and its engine's together. To compare " +
              "policies, filter to one engine; to compare engines, look at one policy's rows (Simulated to real).",
          )
        : null,
    ].filter(Boolean),
  );
}

function renderBoard(state, group) {
  const rows = matchingRows(group, state);
  byId("board-title").textContent = clip(group.title, 80);
  byId("board-about").textContent = aboutGroup(group);
  renderFilters(state, group);
  renderTable(state, group, rows);
  renderPlots(state, group, rows);
  renderChosen(state, group);
}

const LEFT_AT = new Map(); // what the sheet showed -> how far down one was, and what was opened from there

// Back at a list, one goes on where one left it. Its questions come in a moment later, from memory.
function returnTo(sheet, shown) {
  const left = LEFT_AT.get(shown);
  LEFT_AT.delete(shown);
  if (!left) return;
  setTimeout(() => {
    if (sheet.shown !== shown) return;
    const link = [...sheet.querySelectorAll(".list a")].find((one) => one.getAttribute("href") === left.opened);
    if (link) link.focus({ preventScroll: true });
    sheet.scrollTop = left.top;
  });
}

// The sheet over the page: a record, a comparison or a question. Closing it goes back to the board.
function renderSheet(state, group) {
  const sheet = byId("sheet");
  const opened = openedQuestion(state, group);
  const compared = comparedSlugs(state, group).map((slug) => rowOf(group, slug));
  const row = rowOf(group, state.row);
  const isCompare = state.row === "compare" && compared.length === 2;
  const [title, back, parts] = opened
    ? [
        "Question " + (opened.index + 1) + " of " + clip(opened.set, 40),
        row || isCompare ? "← Back to the " + (isCompare ? "comparison" : "record") : null,
        () => questionView(group, opened),
      ]
    : isCompare
      ? ["Two rows compared", null, () => compareView(group, compared[0], compared[1])]
      : row
        ? [clip(row.name, 120), null, () => recordView(group, row)]
        : [null];
  if (!title) {
    if (sheet.open) sheet.close();
    LEFT_AT.clear();
    sheet.shown = null;
    return;
  }
  const shown = [group.id, state.row, state.question, isCompare && state.compare].join("|");
  if (sheet.shown === shown) return;
  if (opened && sheet.shown) LEFT_AT.set(sheet.shown, { top: sheet.scrollTop, opened: address({}) });
  sheet.shown = shown;
  const heading = make("h2", { id: "sheet-title", tabindex: "-1" }, title);
  sheet.replaceChildren(
    make(
      "div",
      { class: "sheet-head" },
      back ? make("a", { class: "back", href: address({ question: "" }) }, back) : null,
      heading,
      make("button", { type: "button", class: "close", "aria-label": "Close", onclick: closeSheet }, "×"),
    ),
    make("div", { class: "sheet-body" }, parts()),
  );
  if (!sheet.open) sheet.showModal();
  sheet.scrollTop = 0;
  heading.focus();
  if (!opened) returnTo(sheet, shown);
}

function closeSheet() {
  go({ row: "", question: "" });
}

byId("sheet").addEventListener("cancel", (event) => {
  event.preventDefault();
  closeSheet();
});
byId("sheet").addEventListener("click", (event) => {
  if (event.target === byId("sheet")) closeSheet();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("board").focus();
});
window.addEventListener("hashchange", render);
window.addEventListener("resize", fitTable);
NARROW.addEventListener("change", render);
renderPublished();
renderReading();
render();
