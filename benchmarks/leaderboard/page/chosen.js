// The rows that are chosen for comparing.

// Two rows are compared; a third takes the place of the first.
function choose(slug) {
  const state = readState();
  const compared = comparedSlugs(state, chosenGroup(state));
  const next = compared.includes(slug) ? compared.filter((one) => one !== slug) : [...compared, slug].slice(-2);
  go({ compare: next.join(",") }, { step: false });
  const row = [...document.querySelectorAll("tr[data-slug]")].find((one) => one.dataset.slug === slug);
  if (row) row.querySelector("input").focus();
  announce(
    next.length === 2
      ? "Two rows chosen. Enter compares them."
      : plural(next.length, "row") + " chosen.",
  );
}

// From a row's box, the button at the end of the page would be many steps of the keyboard away.
function compareByKey(event) {
  const state = readState();
  if (event.key === "Enter" && comparedSlugs(state, chosenGroup(state)).length === 2) go({ row: "compare", question: "" });
}

function renderChosen(state, group) {
  const rows = comparedSlugs(state, group).map((slug) => rowOf(group, slug));
  const place = byId("chosen");
  place.hidden = rows.length === 0;
  document.body.classList.toggle("has-chosen", rows.length > 0);
  place.replaceChildren(
    make(
      "p",
      null,
      rows.map((row, index) => [
        index ? make("span", { class: "versus" }, " against ") : null,
        make("b", null, told(row.name, 60)),
        " on ",
        told(row.eval, 30),
      ]),
      rows.length === 1 ? make("span", { class: "versus" }, " – choose one more row") : null,
    ),
    rows.length === 2
      ? make("a", { class: "button", href: address({ row: "compare", question: "" }) }, "Compare")
      : null,
    make(
      "button",
      { type: "button", class: "plain-button", onclick: () => go({ compare: "" }, { step: false }) },
      "Clear",
    ),
  );
}
