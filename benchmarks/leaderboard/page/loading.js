// A record's episodes, loaded when they are first asked for: a script tag works from a file, where fetching doesn't.

const EPISODES = new Map(); // slug -> promise of { list, byKey, isChecked }
const ARRIVED = new Map(); // slug -> base64 of the record's own gzip file

// What an episodes file calls.
function boardEpisodes(slug, packed) {
  ARRIVED.set(slug, packed);
}

function loadEpisodes(row) {
  if (!EPISODES.has(row.slug)) {
    const found = readEpisodes(row);
    EPISODES.set(row.slug, found);
    found.catch(() => EPISODES.delete(row.slug)); // so that another try may do better
  }
  return EPISODES.get(row.slug);
}

function addScript(slug) {
  return new Promise((resolve, reject) => {
    const script = make("script", { src: "episodes/" + encodeURIComponent(slug) + ".js" });
    script.addEventListener("load", resolve);
    script.addEventListener("error", () =>
      reject(new Error("episodes/" + slug + ".js couldn't be read. Keep the folder episodes beside index.html.")),
    );
    document.head.append(script);
  });
}

async function readEpisodes(row) {
  if (typeof DecompressionStream !== "function")
    throw new Error(
      "This browser can't unpack gzip (it has no DecompressionStream). Chrome and Edge 80, Firefox 113 and " +
        "Safari 16.4 can, and so can all newer ones.",
    );
  await addScript(row.slug);
  const packed = ARRIVED.get(row.slug);
  ARRIVED.delete(row.slug);
  if (packed === undefined) throw new Error("episodes/" + row.slug + ".js holds no episodes of this record.");
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(unpacked).arrayBuffer();
  const isChecked = await sameAsRecorded(buffer, row.record.episodes.sha256);
  const list = new TextDecoder()
    .decode(buffer)
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const order = new Map(row.record.sets.map((set, place) => [set.name, place]));
  list.sort((a, b) => (order.get(a.set) ?? 0) - (order.get(b.set) ?? 0) || a.index - b.index);
  return { list, byKey: new Map(list.map((episode) => [episode.set + "/" + episode.index, episode])), isChecked };
}

async function sameAsRecorded(buffer, expected) {
  if (!expected || !globalThis.crypto || !crypto.subtle) return false;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
  const found = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== expected)
    throw new Error(
      "These episodes are not those that the record was made with: their SHA-256 is " +
        found.slice(0, 12) +
        "…, and the record says " +
        clip(expected, 12) +
        "…",
    );
  return true;
}

const hasFailed = (episode) => episode.status === "failed" || episode.status === "search_failed";
const outcomeOf = (episode) =>
  hasFailed(episode)
    ? "failed"
    : episode.exact_match === 1
      ? "right"
      : episode.answer === null
        ? "unanswered"
        : "wrong";
const OUTCOMES = { right: "✓ right", wrong: "✗ wrong", unanswered: "○ no answer", failed: "! failed" };
const outcomeBadge = (episode) => make("span", { class: "badge " + outcomeOf(episode) }, OUTCOMES[outcomeOf(episode)]);

// Shows that something is being read, then what came of it; what was asked for last wins.
function later(place, rows, show) {
  const ticket = Symbol("ticket");
  place.ticket = ticket;
  place.replaceChildren(make("p", { class: "note", role: "status" }, "Reading the episodes …"));
  Promise.all(rows.map(loadEpisodes)).then(
    (found) => {
      if (place.ticket === ticket) place.replaceChildren(...[show(...found)].flat());
    },
    (error) => {
      if (place.ticket === ticket)
        place.replaceChildren(make("p", { class: "box warn", role: "alert" }, clip(error.message, 500)));
    },
  );
}
