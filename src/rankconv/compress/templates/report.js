"use strict";
// Without this script the page is complete; it adds the button, tips beside points, and sorting.
(() => {
  const root = document.documentElement;
  const store = {
    get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("theme", value); } catch { /* not kept */ } },
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  if (store.get()) root.dataset.theme = store.get();
  button.hidden = false;
  button.addEventListener("click", () => {
    const now = root.dataset.theme ?? (system.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    store.set(root.dataset.theme);
  });

  const tip = document.getElementById("tip");
  const figure = tip.parentElement;
  const hide = () => { tip.hidden = true; };
  for (const mark of document.querySelectorAll("a.mark")) {
    const title = mark.querySelector("title");
    const [name, ...lines] = title.textContent.split("\n");
    title.remove();
    const show = () => {
      const head = document.createElement("b");
      head.textContent = name;
      tip.replaceChildren(head, ...lines.flatMap((line) => [line, document.createElement("br")]));
      tip.hidden = false;
      const at = mark.querySelector(".reach").getBoundingClientRect();
      const frame = figure.getBoundingClientRect();
      const room = frame.width - tip.offsetWidth - 8;
      const left = at.left + at.width / 2 - frame.left - tip.offsetWidth / 2;
      tip.style.left = `${Math.max(8, Math.min(left, room))}px`;
      const below = at.bottom - frame.top + 6;
      const above = at.top - frame.top - tip.offsetHeight - 6;
      tip.style.top = `${above > 0 ? above : below}px`;
    };
    mark.addEventListener("pointerenter", show);
    mark.addEventListener("focus", show);
    mark.addEventListener("pointerleave", hide);
    mark.addEventListener("blur", hide);
    // A tap shows the tip; the row of the table is for those who point with a mouse or a key.
    let touched = false;
    mark.addEventListener("pointerdown", (event) => { touched = event.pointerType === "touch"; });
    mark.addEventListener("click", (event) => {
      if (touched) { event.preventDefault(); show(); }
    });
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const first = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const value = (row, i) => {
      const cell = row.cells[i];
      const text = cell.dataset.v ?? cell.textContent;
      const number = Number.parseFloat(text);
      return cell.dataset.v !== undefined || /^\d/.test(text) && cell.classList.contains("n")
        ? number : text;
    };
    heads.forEach((head, i) => {
      const press = document.createElement("button");
      press.type = "button";
      press.append(...head.childNodes);
      head.append(press);
      press.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = first.slice().sort((a, b) => {
          const [x, y] = [value(a, i), value(b, i)];
          if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
          const order = typeof x === "number" ? x - y : x.localeCompare(y);
          return down ? -order : order;
        });
        body.append(...rows);
      });
    });
  }

  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries)
      if (entry.isIntersecting) {
        for (const link of links.values()) link.classList.remove("here");
        links.get(entry.target.id)?.classList.add("here");
      }
  }, { rootMargin: "-30% 0px -65% 0px" });
  for (const section of document.querySelectorAll("main > section")) seen.observe(section);
  root.dataset.ready = "";
})();
