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

  // ---- what the page holds beside what it shows -------------------------------------------------------------------
  const unpacked = new Map();
  const unpack = async (id) => {
    if (unpacked.has(id)) return unpacked.get(id);
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    unpacked.set(id, await new Response(stream).json());
    return unpacked.get(id);
  };

  // ---- tables: sorted, filtered and folded; the address keeps how --------------------------------------------------
  const valueOf = (cell) => {
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    return text === "-" || text === "" ? null : text;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  const address = new URLSearchParams(location.search);
  const remember = (id, kept) => {
    if (String(kept)) address.set(id, kept); else address.delete(id);
    const query = String(address);
    // Some browsers forbid it for local files: then the choice lasts as long as the page.
    try { history.replaceState(null, "", location.pathname + (query && "?" + query) + location.hash); } catch { /* no address */ }
  };
  const printed = (cell) => cell.textContent.split(" ")[0];
  const markBest = (heads, groups) => heads.forEach((head, column) => {
    const way = head.dataset.best;
    if (!way) return;
    for (const rows of groups) {
      const cells = rows.map((row) => row.cells[column]);
      const there = cells.filter((cell) => cell.dataset.value !== undefined);
      const value = Math[way](...there.map((cell) => Number(cell.dataset.value)));
      const best = there.find((cell) => Number(cell.dataset.value) === value);
      const tied = there.filter((cell) => there.length > 1 && printed(cell) === printed(best));
      // What learned nothing shares no first place.
      const learned = tied.filter((cell) => !cell.parentElement.classList.contains("free"));
      const bold = new Set(learned.length ? learned : tied);
      for (const cell of cells) {
        if (Boolean(cell.querySelector("strong")) === bold.has(cell)) continue;
        const place = cell.querySelector("a") || cell;
        const text = document.createElement(bold.has(cell) ? "strong" : "span");
        text.textContent = cell.textContent;
        place.replaceChildren(text);
      }
    }
  });

  const setUp = (controls) => {
    const id = controls.dataset.for;
    const section = document.getElementById(id);
    const table = section.querySelector("table");
    const body = table.tBodies[0];
    const heads = Array.from(table.tHead.rows[0].cells);
    const original = Array.from(body.rows);
    const folds = original.filter((row) => row.classList.contains("fold"));
    const rows = original.filter((row) => !row.classList.contains("fold"));
    const search = controls.querySelector("input");
    const choices = Array.from(controls.querySelectorAll("select"));
    const count = controls.querySelector(".count");
    const texts = new Map();
    let sequence = original;
    const open = new Set([0]); // numbers of the sections that are not folded
    let column = -1;
    let order = "none";
    let touched = false;

    const textOf = (row) => {
      if (!texts.has(row)) texts.set(row, Array.from(row.cells, (cell) => cell.textContent.trim().toLowerCase()));
      return texts.get(row);
    };
    const show = () => {
      const words = Array.from(search.value.toLowerCase().matchAll(/"([^"]*)"|\S+/g));
      const asked = words.length > 0 || choices.some((choice) => choice.value);
      const sorted = order !== "none";
      const hits = new Map();
      for (const row of rows) {
        const cells = words.length ? textOf(row) : [];
        // A word in quotes must be a whole cell: "lamm" is not coop+lamm.
        const fits = words.every((word) => word[1] === undefined ? cells.join("\n").includes(word[0]) : cells.includes(word[1])) &&
          choices.every((choice) => !choice.value || row.cells[choice.dataset.column].textContent === choice.value);
        const place = Number(row.dataset.section);
        row.hidden = !fits || (folds.length > 0 && !sorted && !asked && !open.has(place));
        if (!fits) continue;
        if (!hits.has(place)) hits.set(place, []);
        hits.get(place).push(row);
      }
      folds.forEach((row, place) => {
        row.hidden = sorted || !hits.has(place);
        row.querySelector("button").setAttribute("aria-expanded", String(asked || open.has(place)));
      });
      table.classList.toggle("sorted", sorted || folds.length === 0);
      // Rows that are not shown leave the page: with thousands of them it loads, scrolls and prints much faster.
      body.replaceChildren(...sequence.filter((row) => !row.hidden));
      const shown = Array.from(hits.values()).flat();
      count.textContent = shown.length === rows.length ? rows.length + " rows" : shown.length + " of " + rows.length + " rows";
      if (touched || sorted || asked) markBest(heads, sorted ? [shown] : Array.from(hits.values()));
      touched = sorted || asked;
      const kept = new URLSearchParams();
      if (sorted) kept.set("sort", column + (order === "descending" ? "d" : "a"));
      if (search.value) kept.set("q", search.value);
      for (const choice of choices) if (choice.value) kept.set(choice.dataset.column, choice.value);
      if (ready) remember(id, kept);
    };
    const sortBy = (place, way) => {
      column = place;
      order = way;
      const sign = order === "descending" ? -1 : 1;
      const keyed = rows.map((row, at) => [row, at, place < 0 ? null : valueOf(row.cells[place])]);
      keyed.sort(([, first, a], [, second, b]) => {
        // What is missing comes last, whichever way the rest is sorted.
        if (a === null || b === null) return a === b ? first - second : a === null ? 1 : -1;
        return sign * compare(a, b) || first - second;
      });
      sequence = order === "none" ? original : keyed.map(([row]) => row);
      heads.forEach((head, index) => head.setAttribute("aria-sort", index === place ? order : "none"));
      show();
    };

    for (const one of table.querySelectorAll("a, button")) one.tabIndex = -1;
    let ready = false;
    const kept = new URLSearchParams(address.get(id) || "");
    search.value = kept.get("q") || "";
    for (const choice of choices) choice.value = kept.get(choice.dataset.column) || "";
    const [, place, way] = /^(\d+)([ad])$/.exec(kept.get("sort") || "") || [];
    if (place !== undefined && Number(place) < heads.length) sortBy(Number(place), way === "d" ? "descending" : "ascending");
    else show();
    ready = true;

    heads.forEach((head, index) => head.querySelector("button").addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      sortBy(index, next[head.getAttribute("aria-sort")]);
      say(order === "none" ? "Original order" : "Sorted by " + head.textContent + ", " + order);
    }));
    search.addEventListener("input", show);
    choices.forEach((choice) => choice.addEventListener("change", show));
    folds.forEach((row, index) => row.querySelector("button").addEventListener("click", () => {
      if (!open.delete(index)) open.add(index);
      show();
    }));
    controls.querySelector(".unfold")?.addEventListener("click", (event) => {
      const all = open.size < folds.length;
      open.clear();
      if (all) folds.forEach((_, index) => open.add(index));
      event.target.textContent = all ? "Fold all" : "Unfold all";
      show();
    });
    for (const made of controls.querySelectorAll("[data-file]")) made.addEventListener("click", async () => {
      const kind = made.dataset.file;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([(await unpack("files"))[id][kind]], { type: "text/plain" }));
      link.download = id + "." + kind;
      link.click();
      URL.revokeObjectURL(link.href);
    });

    // One stop for the tab key; the arrow keys go from cell to cell.
    let stop = heads[0].querySelector("button");
    stop.tabIndex = 0;
    section.querySelector(".scroll").removeAttribute("tabindex");
    table.addEventListener("focusin", (event) => {
      stop.tabIndex = -1;
      stop = event.target;
      stop.tabIndex = 0;
    });
    table.addEventListener("keydown", (event) => {
      const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] || [0, 0];
      if (!down && !right) return;
      event.preventDefault();
      const lines = [table.tHead.rows[0], ...Array.from(body.rows).filter((row) => !row.hidden)];
      let cell = event.target.closest("td, th");
      let line = lines.indexOf(cell.parentElement);
      let at = cell.cellIndex;
      do {
        line += down;
        at += right;
        cell = lines[line]?.cells[lines[line].classList.contains("fold") ? 0 : at];
      } while (cell && !cell.querySelector("a, button"));
      cell?.querySelector("a, button").focus();
    });
    controls.hidden = false;
  };
  document.querySelectorAll(".controls").forEach(setUp);

  // ---- runs: a number's link opens the config and the record of what it was made of ------------------------------
  const dialog = document.getElementById("record");
  const body = document.getElementById("record-body");
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
    const known = await unpack("data");
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
