// Reads the rows again every two seconds while the page is looked at, and marks what changed for a moment. Whoever is at a
// button keeps it: nothing is replaced while one is pressed, and focus goes back to where it was.

const EVERY_MS = 2000;
const LIMIT_MS = 10000;
const MARKED_MS = 2500;

const rows = document.getElementById("rows");
const live = document.getElementById("live");
let shown = null;
let isReading = false;
let isStale = false;

function texts() {
  return new Map([...rows.querySelectorAll("[data-row]")].map((row) => [row.dataset.row, row.textContent]));
}

function show(html) {
  if (html === shown || rows.querySelector("button:active, a:active")) return;
  const before = texts();
  const focused = rows.contains(document.activeElement) ? document.activeElement : null;
  const heading = focused?.closest("section")?.getAttribute("aria-labelledby");
  rows.innerHTML = html; // the server has escaped all that is not its own
  shown = html;
  if (focused) focus(focused.id, heading);
  const after = texts();
  const changed = [...rows.querySelectorAll("[data-row]")].filter((row) => before.get(row.dataset.row) !== row.textContent);
  const count = changed.length + [...before.keys()].filter((name) => !after.has(name)).length;
  if (count > 0) mark(changed, count === 1 ? "1 line changed" : `${count} lines changed`);
}

function focus(id, heading) {
  const next = (id && document.getElementById(id)) || (heading && document.getElementById(heading));
  if (next) next.focus({ preventScroll: true });
}

function mark(changed, sentence) {
  changed.forEach((row) => row.classList.add("changed"));
  live.textContent = sentence;
  setTimeout(() => {
    changed.forEach((row) => row.classList.remove("changed"));
    if (live.textContent === sentence) live.textContent = "";
  }, MARKED_MS);
}

function setStale(is) {
  if (is === isStale) return;
  isStale = is;
  document.body.classList.toggle("stale", is);
  live.textContent = is ? "No connection; trying again" : "";
}

async function refresh() {
  if (document.hidden || isReading) return;
  isReading = true;
  try {
    const answer = await fetch("/console/rows", { signal: AbortSignal.timeout(LIMIT_MS) });
    if (answer.status === 401) return location.assign("/sign-in");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const html = await answer.text();
    setStale(false);
    show(html);
  } catch {
    setStale(true);
  } finally {
    isReading = false;
  }
}

document.addEventListener("visibilitychange", refresh);
setInterval(refresh, EVERY_MS);
