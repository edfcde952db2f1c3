// Keeps a page true while it is open: when the cluster says that something changed, the page is fetched again and the
// parts marked data-live are exchanged; logs marked data-log are read as they are written. Without this script
// everything works, only nothing moves.

const QUIET_MS = 1500; // between two fetches of the page
const LOG_CHARACTERS = 400_000; // kept of a log; the oldest lines go first
const ESCAPES = /\x1b\[[0-9;?]*[ -/]*[@-~]/g;
const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

let refreshing = false;
let wanted = false;

async function refresh() {
  wanted = true;
  if (refreshing || document.hidden) return;
  refreshing = true;
  while (wanted && !document.hidden) {
    wanted = false;
    await exchange().catch(() => undefined); // the node may be gone for a moment; the next change tries again
    await later(QUIET_MS);
  }
  refreshing = false;
}

async function exchange() {
  // Where a form was refused, or a token was made, the address is the form's, which answers no GET.
  const page = document.body.dataset.page;
  const answer = await fetch(page, { headers: { "Pinode-Refresh": "1" } });
  if (answer.redirected || answer.status === 401) return location.assign(page);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    // A part with a key (a log that is being read is inside) is exchanged when its key changes only.
    if (!now || (now.dataset.key ? now.dataset.key === part.dataset.key : now.innerHTML === part.innerHTML)) continue;
    if (part.querySelector("input:focus, textarea:focus")) continue; // somebody types there
    const focused = part.contains(document.activeElement) ? whichOf(document.activeElement) : null;
    part.dataset.key = now.dataset.key ?? "";
    part.replaceChildren(...now.childNodes);
    if (focused) part.querySelector(focused)?.focus();
    readLogs(part);
  }
}

// Finds a link or a button again among the new children.
function whichOf(element) {
  const name = ["href", "aria-label", "id"].find((one) => element.hasAttribute(one));
  return name ? `[${name}="${CSS.escape(element.getAttribute(name))}"]` : null;
}

function listen() {
  // Whatever changed since the page was made is told at once, also after a pause of the connection.
  const events = new EventSource(`/api/v1/events?since=${document.body.dataset.revision}`);
  events.addEventListener("change", refresh);
  events.addEventListener("error", async () => {
    if (events.readyState !== EventSource.CLOSED) return; // it tries again by itself
    await later(2000);
    refresh(); // when the login has ended, this leads to the login page
    listen();
  });
}

async function readLog(view) {
  view.dataset.reading = "yes";
  let pause = 1000;
  while (view.isConnected) {
    const whole = await streamInto(view).catch(() => false);
    if (whole) return refresh();
    await later(pause);
    pause = Math.min(pause * 2, 15_000);
  }
}

async function streamInto(view) {
  const stopped = new AbortController();
  const answer = await fetch(view.dataset.log, { signal: stopped.signal });
  if (!answer.ok || !answer.body) return answer.status === 404;
  const lines = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let drawn = null;
  for (;;) {
    const { value, done } = await lines.read();
    if (done) break;
    if (!view.isConnected) return stopped.abort();
    text = (text + value.replace(ESCAPES, "")).slice(-LOG_CHARACTERS);
    drawn ??= requestAnimationFrame(() => {
      drawn = null;
      show(view, text);
    });
  }
  if (text) show(view, text);
  return true;
}

function show(view, text) {
  const atEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
  view.textContent = text;
  if (atEnd) view.scrollTop = view.scrollHeight;
}

function readLogs(root) {
  for (const view of root.querySelectorAll("[data-log]:not([data-reading])")) {
    view.scrollTop = view.scrollHeight;
    readLog(view);
  }
}

readLogs(document);
if (document.body.dataset.revision) {
  listen();
  document.addEventListener("visibilitychange", refresh);
}
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button")) setTimeout(() => (button.disabled = true));
  });
}
addEventListener("pageshow", (event) => event.persisted && location.reload());
