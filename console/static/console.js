// What the pages gain from a script: the viewer's time zone, buttons that copy, live events, and no
// requests of hidden tabs. Every page works without it.

const format = new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "medium" });

function improve(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
    const date = new Date(time.dateTime);
    if (!Number.isNaN(date.getTime())) {
      const milliseconds = `.${String(date.getMilliseconds()).padStart(3, "0")}`;
      time.textContent = format.format(date) + ("exact" in time.dataset ? milliseconds : "");
      time.dataset.local = "";
    }
  }
  if (navigator.clipboard) {
    for (const button of root.querySelectorAll(".copy[hidden]")) {
      button.hidden = false;
    }
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (button) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1200);
  }
});

// A page that updates itself says so, and rests while its tab is hidden.
document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt.matches("[data-live]")) {
    event.detail.headers["X-Background"] = "true";
  }
});
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.matches("[data-live]")) {
    event.preventDefault();
  }
});
document.addEventListener("htmx:afterSwap", () => improve(document));

improve(document);

// The live page: a stream adds rows, and tells of those that are resolved. It rests while the tab is
// hidden.
const MAX_ROWS = 200;

function followLive(body) {
  const state = document.querySelector("#live-state");
  const counts = document.querySelector("#live-counts");
  const problem = document.querySelector("#live-problem");
  const button = document.querySelector("#live-pause");
  const missed = { leftOut: 0, unread: 0 };
  let source = null;
  let connecting = null;
  let isPaused = false;
  let hasEnded = false;

  function parse(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    improve(template.content);
    return [...template.content.children];
  }

  function replace(row) {
    const old = document.getElementById(row.id);
    old?.replaceWith(row);
    return Boolean(old);
  }

  function say(text) {
    clearTimeout(connecting);
    connecting = null;
    if (state.textContent !== text) state.textContent = text;
  }

  function open() {
    source = new EventSource(body.dataset.stream);
    source.addEventListener("open", () => say("New events appear by themselves."));
    source.addEventListener("rows", (message) => {
      for (const row of parse(message.data)) {
        if (!replace(row)) body.prepend(row);
      }
      while (body.rows.length > MAX_ROWS) body.lastElementChild.remove();
    });
    source.addEventListener("resolved", (message) => parse(message.data).forEach(replace));
    source.addEventListener("counts", (message) => {
      for (const [name, count] of Object.entries(JSON.parse(message.data))) missed[name] += count;
      const left = `${missed.leftOut.toLocaleString()} more arrived than this page shows`;
      const unread = `${missed.unread.toLocaleString()} more were not read`;
      counts.textContent = [missed.leftOut && left, missed.unread && unread]
        .filter(Boolean)
        .join(", ");
    });
    source.addEventListener("problem", (message) => {
      problem.textContent = message.data;
      problem.hidden = !message.data;
    });
    source.addEventListener("end", (message) => end(message.data));
    source.addEventListener("error", () => {
      if (source?.readyState === EventSource.CLOSED) end("The stream has ended.");
      // Each stream ends after a while, and the browser opens the next one at once.
      else connecting ??= setTimeout(() => say("Connecting …"), 3000);
    });
  }

  function close() {
    source?.close();
    source = null;
  }

  function end(text) {
    close();
    hasEnded = true;
    button.hidden = true;
    say(`${text} Reload the page to go on.`);
  }

  function update() {
    const isWanted = !isPaused && !document.hidden && !hasEnded;
    if (isWanted && !source) open();
    if (!isWanted && source) {
      close();
      say("Paused.");
    }
  }

  button.hidden = false;
  button.addEventListener("click", () => {
    isPaused = !isPaused;
    button.textContent = isPaused ? "Go on" : "Pause";
    update();
  });
  document.addEventListener("visibilitychange", update);
  update();
}

const live = document.querySelector("#live-rows");
if (live) followLive(live);
