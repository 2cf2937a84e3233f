// Shows how long a code is still good, goes on when the session has, and tells the page around a frame how it ended.

const EVERY_MS = 1500;
const LIMIT_MS = 10000;

const progress = document.querySelector(".progress");
const timer = document.querySelector("[data-until]");

function countDown() {
  const left = Math.round(Number(timer.dataset.until) - Date.now() / 1000);
  timer.textContent = left > 0
    ? `The code is good for another ${Math.floor(left / 60)} min ${left % 60} s.`
    : "The code has run out: ask the bank for a new one.";
}

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch(`${progress.dataset.path}/state`, { signal: AbortSignal.timeout(LIMIT_MS) });
    if (!answer.ok) return;
    const { seen } = await answer.json();
    if (seen !== progress.dataset.seen) location.replace(progress.dataset.path);
  } catch {
    document.getElementById("live").textContent = "No connection; trying again";
  }
}

if (timer) {
  countDown();
  setInterval(countDown, 1000);
}
if (progress?.dataset.watches) {
  setInterval(look, EVERY_MS);
  document.addEventListener("visibilitychange", look);
}
if (progress?.dataset.ended && window.parent !== window) {
  const { ended, bankAccount } = progress.dataset;
  for (const origin of progress.dataset.for.split(" ")) {
    window.parent.postMessage({ type: "bankfeed.widget", outcome: ended, bankAccountId: Number(bankAccount) || null }, origin);
  }
}
