// What the pages gain from a script: the viewer's time zone, buttons that copy, and no requests of
// hidden tabs. Every page works without it.

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
