"use strict";
(() => {
  const say = (text) => { document.getElementById("status").textContent = text; };

  // ---- light and dark: automatic, or as chosen -------------------------------------------------------------------
  const themes = ["automatic", "light", "dark"];
  const button = document.getElementById("theme");
  let theme = "automatic";
  // Storage may be forbidden for local files: then the choice lasts as long as the page.
  try { theme = localStorage.getItem("lamm_cl-theme") || theme; } catch { /* no storage */ }
  const showTheme = () => {
    if (theme === "automatic") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = "Theme: " + theme;
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try { localStorage.setItem("lamm_cl-theme", theme); } catch { /* no storage */ }
    showTheme();
  });
  showTheme();

  // ---- sorting: ascending, descending, as it was -----------------------------------------------------------------
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    return text === "-" || text === "" ? null : text;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  const sortBy = (table, heads, column, order) => {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [row, keyOf(row, column)]);
    const sign = order === "descending" ? -1 : 1;
    rows.sort(([first, a], [second, b]) => {
      const place = Number(first.dataset.place) - Number(second.dataset.place);
      if (order === "none") return place;
      // What is missing comes last, whichever way the rest is sorted.
      if (a === null || b === null) return a === b ? place : a === null ? 1 : -1;
      return sign * compare(a, b) || place;
    });
    body.append(...rows.map(([row]) => row));
    heads.forEach((head, index) => head.setAttribute("aria-sort", index === column ? order : "none"));
  };
  for (const table of document.querySelectorAll("main table")) {
    Array.from(table.tBodies[0].rows).forEach((row, place) => { row.dataset.place = String(place); });
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[head.getAttribute("aria-sort")];
      sortBy(table, heads, column, order);
      say(order === "none" ? "Original order" : "Sorted by " + head.textContent + ", " + order);
    }));
  }

  // ---- filtering: every word must occur in the row, every choice must match --------------------------------------
  for (const controls of document.querySelectorAll(".controls")) {
    const table = document.getElementById(controls.dataset.for).querySelector("table");
    const search = controls.querySelector("input");
    const choices = Array.from(controls.querySelectorAll("select"));
    const count = controls.querySelector(".count");
    const texts = new Map();
    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = Array.from(table.tBodies[0].rows);
      let shown = 0;
      for (const row of rows) {
        if (!texts.has(row)) texts.set(row, Array.from(row.cells, (cell) => cell.textContent).join("\n").toLowerCase());
        const fits = words.every((word) => texts.get(row).includes(word)) &&
          choices.every((choice) => !choice.value || row.cells[choice.dataset.column].textContent === choice.value);
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      count.textContent = shown === rows.length ? rows.length + " rows" : shown + " of " + rows.length + " rows";
    };
    search.addEventListener("input", filter);
    choices.forEach((choice) => choice.addEventListener("change", filter));
    controls.hidden = false;
    filter();
  }

  // ---- runs: a number's link opens the config and the record of what it was made of ------------------------------
  const dialog = document.getElementById("record");
  const body = document.getElementById("record-body");
  let runs = null;
  const load = async () => {
    if (runs) return runs;
    const source = document.getElementById("data");
    if (source.dataset.packed === "gzip") {
      const bytes = Uint8Array.from(atob(source.textContent), (one) => one.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      runs = JSON.parse(await new Response(stream).text());
    } else {
      runs = JSON.parse(source.textContent);
    }
    return runs;
  };
  const element = (name, text, ...children) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    made.append(...children);
    return made;
  };
  const block = (title, content, open) => {
    const made = element("details", "", element("summary", title), element("pre", JSON.stringify(content, null, 2)));
    made.open = open;
    return made;
  };
  const describe = (id, run, alone) => {
    if (!run) return element("p", "Nothing is known of run " + id + ".");
    const list = element("dl");
    for (const [key, value] of Object.entries(run.run)) list.append(element("dt", key), element("dd", String(value)));
    const parts = [list];
    const record = run.record;
    if (record) {
      if (record.config !== undefined) parts.push(block("Config", record.config, alone));
      parts.push(block("Record (runs/" + id + "/record.json)", record, false));
    } else {
      parts.push(element("p", "This run left no readable record."));
    }
    const { method, dataset, shots, seed } = run.run;
    const words = [method, dataset, shots && shots + " shots", seed !== undefined && "seed " + seed].filter(Boolean);
    const made = element("details", "", element("summary", "Run " + id + ": " + words.join(", ")), ...parts);
    made.open = alone;
    return made;
  };
  const opened = () => {
    const match = /^#runs=(.+)$/.exec(location.hash);
    return match ? match[1].split(",").map(decodeURIComponent) : [];
  };
  const follow = async () => {
    const ids = opened();
    if (!ids.length) { if (dialog.open) dialog.close(); return; }
    const known = await load();
    document.getElementById("record-title").textContent = ids.length === 1 ? "Run " + ids[0] : ids.length + " runs";
    body.replaceChildren(...ids.map((id) => describe(id, Object.hasOwn(known, id) ? known[id] : null, ids.length === 1)));
    if (!dialog.open) dialog.showModal();
  };
  const leave = () => {
    if (opened().length) history.replaceState(null, "", location.pathname + location.search);
  };
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", leave);
  window.addEventListener("hashchange", follow);
  follow();
})();
